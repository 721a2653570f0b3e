"""Retrieval metrics, re-ranking and verification: pure functions of tensors."""

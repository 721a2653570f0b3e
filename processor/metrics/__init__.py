"""Retrieval metrics and re-ranking: pure functions of tensors."""

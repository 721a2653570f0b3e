"""Checkpoints: save, load, resume, slim, export."""

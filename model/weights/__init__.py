"""Weights files: read, translated, loaded, reported."""

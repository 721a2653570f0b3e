"""Checkpoints: saved, loaded, resumed, slimmed, exported."""

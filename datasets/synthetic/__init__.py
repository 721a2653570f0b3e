"""Drawn ReID data: people, places and cameras."""

"""Faults of data sets: one record each, found before a run meets them."""

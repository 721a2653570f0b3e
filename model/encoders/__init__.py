"""Image encoders: one interface, one file per family, one table of names."""

"""People's own images, read without writing code."""

"""Users' own images, read without writing code."""

"""Features in files, and nearest-neighbour search among them."""

"""Features on disk and the search among them."""

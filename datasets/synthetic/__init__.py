"""Drawing people, places and what cameras make of them."""

"""Own data: readers that need no code."""

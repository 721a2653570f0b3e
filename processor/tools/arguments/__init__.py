"""The command line of every sub-command; parsing needs no torch."""

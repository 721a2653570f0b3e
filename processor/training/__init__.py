"""Stages, the loop over their epochs, and what builds them."""

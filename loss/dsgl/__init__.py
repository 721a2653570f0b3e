"""The losses that only DSGL, training without labels, needs."""

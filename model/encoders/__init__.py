"""Image encoders: what turns images into features."""

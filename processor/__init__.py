"""Training, evaluation and everything that runs a model."""

"""Weights files: read, translate, load, report."""

from model.weights.load import load_weights
from model.weights.report import LoadReport

__all__ = ["LoadReport", "load_weights"]

"""Evaluation of a model on data sets; re-exports the public metric functions."""

from processor.metrics.ranking import RetrievalMetrics, evaluate_distmat, evaluate_features
from processor.metrics.reranking import rerank

__all__ = ["RetrievalMetrics", "evaluate_distmat", "evaluate_features", "rerank"]

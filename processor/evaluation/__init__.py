"""Retrieval metrics and re-ranking."""

from processor.evaluation.ranking import RetrievalMetrics, evaluate_distmat, evaluate_features
from processor.evaluation.reranking import rerank

__all__ = ["RetrievalMetrics", "evaluate_distmat", "evaluate_features", "rerank"]

"""CMC, mAP and mINP of a retrieval, without sorting the gallery."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from torch import Tensor

from processor.metrics.checks import FeatureArray, check_features
from processor.metrics.distance import (
    DistanceBlock,
    DistanceSource,
    distance_blocks,
    distmat_blocks,
)
from processor.metrics.identities import IdArray, Identities
from processor.metrics.junk_rule import Candidates, explain_no_match
from processor.metrics.memory_limits import check_ranking
from processor.metrics.normalize import normalize_features
from processor.metrics.ordering import EntryCounter
from processor.metrics.query_scores import score_queries
from processor.metrics.working_memory import CPU, WorkingMemory


@dataclass(frozen=True, slots=True, eq=False)
class RetrievalMetrics:
    """Scores of one retrieval, as fractions; means over the queries that have a match."""

    cmc: np.ndarray  # (min(max_rank, G),) float64, share of queries with a match in the first r
    mAP: float
    mINP: float
    num_queries: int
    num_valid_queries: int  # queries with a match after the junk rule
    by_pid: Mapping[int, float] = field(default_factory=dict)  # mAP of identities with such queries

    def rank(self, k: int) -> float:
        """CMC at rank k >= 1; beyond the end of the curve its last value."""
        if k < 1:
            raise ValueError(f"rank: counts from 1, got {k}")
        return float(self.cmc[min(k, len(self.cmc)) - 1])

    def __str__(self) -> str:
        lines = [f"mAP: {self.mAP:.1%}"]
        lines += [f"CMC curve, Rank-{k:<3}:{self.rank(k):.1%}" for k in (1, 5, 10)]
        lines.append(f"valid queries: {self.num_valid_queries} of {self.num_queries}")
        return "\n".join(lines)


def evaluate_features(  # noqa: PLR0913 - public signature, fixed for callers of other programs
    query_features: FeatureArray,
    gallery_features: FeatureArray,
    query_pids: IdArray,
    gallery_pids: IdArray,
    query_camids: IdArray,
    gallery_camids: IdArray,
    *,
    metric: str = "euclidean",
    ignore_same_camera: bool = True,
    max_rank: int = 50,
    normalize: bool = False,
    chunk_mb: float = 256,
) -> RetrievalMetrics:
    """Rank the gallery for every query by feature distance and score the rankings.

    The full distance matrix is never in memory. Equal distances rank in gallery order.

    Args:
        query_features: (Q, D), any float type; distances are computed in float32.
        gallery_features: (G, D).
        query_pids: (Q,) identities.
        gallery_pids: (G,).
        query_camids: (Q,) cameras.
        gallery_camids: (G,).
        metric: "euclidean" (squared) or "cosine".
        ignore_same_camera: drop gallery images with the query's pid and camid from its ranking.
        max_rank: length of the CMC curve, clipped to the gallery.
        normalize: scale the features to length 1 first.
        chunk_mb: MiB of working memory for one block of distances.

    Raises:
        ValueError: empty, mismatched or non-finite arrays, an unknown metric, no valid query.
        MemoryError: a block does not fit the free memory of the device.
    """
    query, gallery = check_features(query_features, gallery_features)
    if normalize:
        query, gallery = normalize_features(query), normalize_features(gallery)
    ids = Identities.check(
        *(query_pids, gallery_pids, query_camids, gallery_camids),
        ignore_same_camera=ignore_same_camera,
        sizes=(len(query), len(gallery)),
    )
    distances = partial(distance_blocks, query, gallery, metric=metric)
    return evaluate_blocks(distances, ids, WorkingMemory(chunk_mb, query.device), max_rank)


# eight arguments: public signature, fixed for callers of other programs
def evaluate_distmat(
    distmat: FeatureArray,
    query_pids: IdArray,
    gallery_pids: IdArray,
    query_camids: IdArray,
    gallery_camids: IdArray,
    *,
    ignore_same_camera: bool = True,
    max_rank: int = 50,
    chunk_mb: float = 256,
) -> RetrievalMetrics:
    """Score the rankings of a given distance matrix.

    Args:
        distmat: (Q, G), smaller = more alike; float32 and float64 keep their precision.
        query_pids: (Q,) identities.
        gallery_pids: (G,).
        query_camids: (Q,) cameras.
        gallery_camids: (G,).
        ignore_same_camera: drop gallery images with the query's pid and camid from its ranking.
        max_rank: length of the CMC curve, clipped to the gallery.
        chunk_mb: MiB of working memory for one block of distances.

    Raises:
        ValueError: empty, mismatched or non-finite arrays, no valid query.
    """
    matrix = distmat if isinstance(distmat, Tensor) else np.asarray(distmat)
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise ValueError(
            f"distmat: expected a (Q, G) matrix with entries, got {tuple(matrix.shape)}"
        )
    num_query, num_gallery = matrix.shape
    ids = Identities.check(
        *(query_pids, gallery_pids, query_camids, gallery_camids),
        ignore_same_camera=ignore_same_camera,
        sizes=(num_query, num_gallery),
    )
    candidates = Candidates.find(ids)
    memory = WorkingMemory(chunk_mb, matrix.device if isinstance(matrix, Tensor) else CPU)
    return _evaluate(distmat_blocks(matrix, candidates.blocks(8, memory)), candidates, max_rank)


def evaluate_blocks(
    distances: DistanceSource, ids: Identities, memory: WorkingMemory, max_rank: int = 50
) -> RetrievalMetrics:
    """Score the rankings of distances that are computed block by block.

    Args:
        distances: computes the blocks of the given query rows.
        ids: of both sides.
        memory: for one block, on the device that computes it.
        max_rank: length of the CMC curve, clipped to the gallery.

    Raises:
        ValueError: blocks of other shapes than `ids`, no valid query.
        MemoryError: a block does not fit the free memory of the device.
    """
    candidates = Candidates.find(ids)
    if not candidates.counts.any():
        raise ValueError(explain_no_match(candidates))
    check_ranking(len(ids.query_pids), len(ids.gallery_pids), memory)
    blocks = distances(candidates.blocks(memory.bytes_per_distance, memory))
    return _evaluate(blocks, candidates, max_rank)


@torch.no_grad()
def _evaluate(
    blocks: Iterable[DistanceBlock], candidates: Candidates, max_rank: int
) -> RetrievalMetrics:
    if max_rank < 1:
        raise ValueError(f"max_rank: expected at least 1, got {max_rank}")
    counter = EntryCounter()
    scores = []
    pids = []
    for block in blocks:
        block.check_shape(len(candidates.by_pid))
        chunk = candidates.chunk(block.rows)
        if chunk.match.any():
            scores.append(score_queries(block.values, chunk, counter))
            pids.append(candidates.ids.query_pids[block.rows][scores[-1].valid])
    if not scores:
        raise ValueError(explain_no_match(candidates))
    first_match = np.concatenate([s.first_match for s in scores])
    ranks = np.arange(1, min(max_rank, len(candidates.by_pid)) + 1)
    found = np.searchsorted(np.sort(first_match), ranks, side="right")
    average_precision = np.concatenate([s.average_precision for s in scores])
    return RetrievalMetrics(
        cmc=found / len(first_match),
        mAP=float(average_precision.mean()),
        mINP=float(np.concatenate([s.inverse_penalty for s in scores]).mean()),
        num_queries=len(candidates.starts),
        num_valid_queries=len(first_match),
        by_pid=_mean_by_pid(average_precision, np.concatenate(pids)),
    )


def _mean_by_pid(scores: np.ndarray, pids: np.ndarray) -> dict[int, float]:
    """The mean of (v,) scores for every one of their (v,) pids."""
    distinct, groups = np.unique(pids, return_inverse=True)
    means = np.bincount(groups, weights=scores) / np.bincount(groups)
    return dict(zip(distinct.tolist(), means.tolist(), strict=True))

"""CMC, mAP and mINP of a retrieval, without sorting the gallery."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from processor.metrics.distance import (
    DistanceBlock,
    DistanceSource,
    FeatureArray,
    bytes_per_distance,
    check_features,
    chunk_slices,
    distance_blocks,
    distmat_blocks,
    normalize_features,
)
from processor.metrics.matches import (
    BYTES_PER_CANDIDATE,
    Candidates,
    ChunkCandidates,
    IdArray,
    Identities,
    explain_no_match,
)
from processor.metrics.memory_limits import check_ranking
from processor.metrics.ordering import EntryCounter


@dataclass(frozen=True, slots=True, eq=False)
class RetrievalMetrics:
    """Scores of one retrieval, as fractions; means over the queries that have a match."""

    cmc: np.ndarray  # (min(max_rank, G),) float64, share of queries with a match in the first r
    mAP: float
    mINP: float
    num_queries: int
    num_valid_queries: int  # queries with a match left after the junk rule

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


def evaluate_features(  # noqa: PLR0913 - two sides with three arrays each, then the protocol
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

    The distance matrix never exists as a whole. Equal distances rank in gallery order.

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
        chunk_mb: MiB of working memory for one chunk of queries.

    Raises:
        ValueError: empty, mismatched or non-finite arrays, an unknown metric, no valid query.
        MemoryError: a block does not fit the memory that the device has left.
    """
    query, gallery = check_features(query_features, gallery_features)
    if normalize:
        query, gallery = normalize_features(query), normalize_features(gallery)
    ids = Identities.check(query_pids, gallery_pids, query_camids, gallery_camids)
    ids.check_lengths(len(query), len(gallery))
    matches = Candidates.find(ids, ignore_same_camera=ignore_same_camera)
    device = query.device
    check_ranking(len(query), len(gallery), chunk_mb, device)
    slices = matches.slices(bytes_per_distance(device), chunk_mb, device)
    return _evaluate(distance_blocks(query, gallery, slices, metric), matches, max_rank)


def evaluate_blocks(
    distances: DistanceSource,
    query_pids: IdArray,
    gallery_pids: IdArray,
    query_camids: IdArray,
    gallery_camids: IdArray,
    *,
    ignore_same_camera: bool = True,
    max_rank: int = 50,
    chunk_mb: float = 256,
) -> RetrievalMetrics:
    """Score the rankings of distances that are made block by block.

    Args:
        distances: makes the blocks of given query rows, such as what `rerank_blocks` returns.
        query_pids: (Q,) identities.
        gallery_pids: (G,).
        query_camids: (Q,) cameras.
        gallery_camids: (G,).
        ignore_same_camera: drop gallery images with the query's pid and camid from its ranking.
        max_rank: length of the CMC curve, clipped to the gallery.
        chunk_mb: MiB of working memory for one chunk of queries.

    Raises:
        ValueError: empty or mismatched arrays, blocks of other shapes, no valid query.
    """
    ids = Identities.check(query_pids, gallery_pids, query_camids, gallery_camids)
    ids.check_lengths(len(ids.query_pids), len(ids.gallery_pids))
    matches = Candidates.find(ids, ignore_same_camera=ignore_same_camera)
    if not matches.counts.any():
        raise ValueError(explain_no_match(matches))
    # re-ranked distances are blended on the CPU, on whatever device they are then ranked
    device = torch.device("cpu")
    slices = matches.slices(bytes_per_distance(device), chunk_mb, device)
    return _evaluate(distances(slices), matches, max_rank)


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
    """Score the rankings that a given distance matrix implies.

    Args:
        distmat: (Q, G), smaller = more alike; float32 and float64 are ranked as they are.
        query_pids: (Q,) identities.
        gallery_pids: (G,).
        query_camids: (Q,) cameras.
        gallery_camids: (G,).
        ignore_same_camera: drop gallery images with the query's pid and camid from its ranking.
        max_rank: length of the CMC curve, clipped to the gallery.
        chunk_mb: MiB of working memory for one chunk of queries.

    Raises:
        ValueError: empty, mismatched or non-finite arrays, no valid query.
    """
    matrix = distmat if isinstance(distmat, Tensor) else np.asarray(distmat)
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise ValueError(
            f"distmat: expected a (Q, G) matrix with entries, got {tuple(matrix.shape)}"
        )
    ids = Identities.check(query_pids, gallery_pids, query_camids, gallery_camids)
    ids.check_lengths(*matrix.shape)
    matches = Candidates.find(ids, ignore_same_camera=ignore_same_camera)
    device = matrix.device if isinstance(matrix, Tensor) else torch.device("cpu")
    slices = matches.slices(8, chunk_mb, device)
    return _evaluate(distmat_blocks(matrix, slices), matches, max_rank)


def count_valid_queries(
    query_pids: IdArray,
    gallery_pids: IdArray,
    query_camids: IdArray,
    gallery_camids: IdArray,
    *,
    ignore_same_camera: bool = True,
) -> int:
    """Queries that have a match in the gallery after the junk rule; needs no features.

    Args:
        query_pids: (Q,) identities.
        gallery_pids: (G,).
        query_camids: (Q,) cameras.
        gallery_camids: (G,).
        ignore_same_camera: as in `evaluate_features`.

    Raises:
        ValueError: there is none; says why and what to set.
    """
    ids = Identities.check(query_pids, gallery_pids, query_camids, gallery_camids)
    if not len(ids.query_pids) or not len(ids.gallery_pids):
        raise ValueError(f"{len(ids.query_pids)} queries, {len(ids.gallery_pids)} gallery images")
    candidates = Candidates.find(ids, ignore_same_camera=ignore_same_camera)
    bytes_per_row = BYTES_PER_CANDIDATE * max(1, int(candidates.counts.max()))
    slices = chunk_slices(len(ids.query_pids), bytes_per_row, chunk_mb=64)
    chunks = (candidates.chunk(rows) for rows in slices)
    count = sum(int((chunk.present & ~chunk.junk).any(axis=1).sum()) for chunk in chunks)
    if not count:
        raise ValueError(explain_no_match(candidates))
    return count


@dataclass(frozen=True, slots=True)
class QueryScores:
    """Scores of the queries of a chunk that have a match."""

    valid: np.ndarray  # (c,) bool, which queries these v are
    first_match: np.ndarray  # (v,) place of the first match, from 1
    average_precision: np.ndarray  # (v,)
    inverse_penalty: np.ndarray  # (v,) matches / place of the last match


@torch.no_grad()
def _evaluate(
    blocks: Iterable[DistanceBlock], candidates: Candidates, max_rank: int
) -> RetrievalMetrics:
    if max_rank < 1:
        raise ValueError(f"max_rank: expected at least 1, got {max_rank}")
    counter = EntryCounter()
    scores = []
    for block in blocks:
        shape = (block.rows.stop - block.rows.start, len(candidates.by_pid))
        if tuple(block.values.shape) != shape:
            raise ValueError(f"distances: expected {shape}, got {tuple(block.values.shape)}")
        chunk = candidates.chunk(block.rows)
        if chunk.has_match():
            scores.append(score_queries(block.values, chunk, counter))
    if not scores:
        raise ValueError(explain_no_match(candidates))
    first_match = np.concatenate([s.first_match for s in scores])
    ranks = np.arange(1, min(max_rank, len(candidates.by_pid)) + 1)
    found = np.searchsorted(np.sort(first_match), ranks, side="right")
    return RetrievalMetrics(
        cmc=found / len(first_match),
        mAP=float(np.concatenate([s.average_precision for s in scores]).mean()),
        mINP=float(np.concatenate([s.inverse_penalty for s in scores]).mean()),
        num_queries=len(candidates.starts),
        num_valid_queries=len(first_match),
    )


def score_queries(distances: Tensor, chunk: ChunkCandidates, counter: EntryCounter) -> QueryScores:
    """AP = mean over matches of (matches so far / place), places counted without junk.

    Args:
        distances: (c, G).
        chunk: gallery images of the queries' identities, one match at least among them.
        counter: kept from chunk to chunk.
    """
    own = torch.from_numpy(chunk.positions).to(distances.device)
    values = distances.gather(1, own).cpu().numpy()
    values[~chunk.present] = np.inf
    nearest_first = values.argsort(axis=1, kind="stable")
    values, positions, junk, present = (
        np.take_along_axis(array, nearest_first, axis=1)
        for array in (values, chunk.positions, chunk.junk, chunk.present)
    )
    before = counter.entries_before(distances, values, positions)
    place = before - junk.cumsum(axis=1) + 1  # from 1, among the kept images; true at matches
    match = present & ~junk
    valid = match.any(axis=1)
    place, match = place[valid], match[valid]
    num_matches = match.sum(axis=1)
    precision = np.divide(match.cumsum(axis=1), place, out=np.zeros(place.shape), where=match)
    return QueryScores(
        valid=valid,
        first_match=np.where(match, place, distances.shape[1]).min(axis=1),
        average_precision=precision.sum(axis=1) / num_matches,
        inverse_penalty=num_matches / np.where(match, place, 0).max(axis=1),
    )

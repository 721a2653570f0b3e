"""CMC, mAP and mINP of a retrieval, without sorting the gallery."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from processor.evaluation.distance import (
    DistanceBlock,
    FeatureArray,
    check_features,
    check_finite,
    chunk_slices,
    distance_blocks,
    normalize_features,
)

IdArray: TypeAlias = Tensor | np.ndarray | Sequence[int]

BYTES_PER_CANDIDATE = 200  # what ranking needs per gallery image of the query's own identity
TIE_ENTRIES = 2**22  # distances compared at once where ties have to be broken


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
    """
    query, gallery = check_features(query_features, gallery_features)
    if normalize:
        query, gallery = normalize_features(query), normalize_features(gallery)
    ids = _Identities.check(query_pids, gallery_pids, query_camids, gallery_camids)
    ids.check_lengths(len(query), len(gallery))
    matches = _Candidates.find(ids, ignore_same_camera=ignore_same_camera)
    slices = chunk_slices(len(query), matches.bytes_per_query(query.element_size()), chunk_mb)
    return _evaluate(distance_blocks(query, gallery, slices, metric), matches, max_rank)


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
    ids = _Identities.check(query_pids, gallery_pids, query_camids, gallery_camids)
    ids.check_lengths(*matrix.shape)
    matches = _Candidates.find(ids, ignore_same_camera=ignore_same_camera)
    slices = chunk_slices(len(matrix), matches.bytes_per_query(8), chunk_mb)
    return _evaluate(_distmat_blocks(matrix, slices), matches, max_rank)


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
    ids = _Identities.check(query_pids, gallery_pids, query_camids, gallery_camids)
    if not len(ids.query_pids) or not len(ids.gallery_pids):
        raise ValueError(f"{len(ids.query_pids)} queries, {len(ids.gallery_pids)} gallery images")
    candidates = _Candidates.find(ids, ignore_same_camera=ignore_same_camera)
    bytes_per_row = BYTES_PER_CANDIDATE * max(1, int(candidates.counts.max()))
    slices = chunk_slices(len(ids.query_pids), bytes_per_row, chunk_mb=64)
    chunks = (candidates.chunk(rows) for rows in slices)
    count = sum(int((chunk.present & ~chunk.junk).any(axis=1).sum()) for chunk in chunks)
    if not count:
        raise ValueError(_explain_no_match(candidates))
    return count


def _distmat_blocks(matrix: FeatureArray, slices: Iterator[slice]) -> Iterator[DistanceBlock]:
    for rows in slices:
        # NumPy rows are copied: they may be read-only or mapped from a file
        part = matrix[rows]
        values = part.detach() if isinstance(part, Tensor) else torch.from_numpy(np.array(part))
        if not values.is_floating_point():
            values = values.double()
        elif values.element_size() < 4:
            values = values.float()
        check_finite("distmat", values, rows.start)
        yield DistanceBlock(rows, values.contiguous())


@dataclass(frozen=True, slots=True)
class _Identities:
    """The four id arrays, int64."""

    query_pids: np.ndarray
    gallery_pids: np.ndarray
    query_camids: np.ndarray
    gallery_camids: np.ndarray

    @classmethod
    def check(cls, *given: IdArray) -> _Identities:
        checked: list[np.ndarray] = []
        for name, values in zip(cls.__slots__, given, strict=True):
            array = values.cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
            if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
                raise ValueError(
                    f"{name}: expected one integer per image, got {array.dtype} {array.shape}"
                )
            checked.append(array.astype(np.int64))
        return cls(*checked)

    def check_lengths(self, num_query: int, num_gallery: int) -> None:
        for name in self.__slots__:
            side = name.split("_")[0]
            expected = num_gallery if side == "gallery" else num_query
            length = len(getattr(self, name))
            if length != expected:
                raise ValueError(f"{name}: {length} entries for {expected} {side} images")


@dataclass(frozen=True, slots=True)
class _ChunkCandidates:
    """Gallery images of each query's identity for c queries, padded to M columns."""

    positions: np.ndarray  # (c, M) place in the gallery, ascending within a row
    present: np.ndarray  # (c, M) bool, False = padding
    junk: np.ndarray  # (c, M) bool, same camera as the query and to be dropped

    def has_match(self) -> bool:
        return bool((self.present & ~self.junk).any())


@dataclass(frozen=True, slots=True)
class _Candidates:
    """Where each query's identity stands in the gallery."""

    ids: _Identities
    ignore_same_camera: bool
    by_pid: np.ndarray  # (G,) gallery positions grouped by pid, ascending within one
    starts: np.ndarray  # (Q,) first place in by_pid
    counts: np.ndarray  # (Q,)

    @classmethod
    def find(cls, ids: _Identities, *, ignore_same_camera: bool) -> _Candidates:
        by_pid = ids.gallery_pids.argsort(kind="stable")
        grouped = ids.gallery_pids[by_pid]
        starts = np.searchsorted(grouped, ids.query_pids)
        counts = np.searchsorted(grouped, ids.query_pids, side="right") - starts
        return cls(ids, ignore_same_camera, by_pid, starts, counts)

    def bytes_per_query(self, bytes_per_distance: int) -> int:
        per_gallery_image = bytes_per_distance + 4  # the distance and its cell
        widest = int(self.counts.max())
        return len(self.by_pid) * per_gallery_image + widest * BYTES_PER_CANDIDATE

    def chunk(self, rows: slice) -> _ChunkCandidates:
        counts = self.counts[rows, None]
        columns = np.arange(counts.max())
        places = np.minimum(self.starts[rows, None] + columns, len(self.by_pid) - 1)
        positions = self.by_pid[places]
        present = columns < counts
        junk = np.zeros_like(present)
        if self.ignore_same_camera:
            same = self.ids.gallery_camids[positions] == self.ids.query_camids[rows, None]
            junk = present & same
        return _ChunkCandidates(positions, present, junk)


@dataclass(frozen=True, slots=True)
class _QueryScores:
    """Scores of the valid queries of a chunk."""

    first_match: np.ndarray  # (v,) place of the first match, from 1
    average_precision: np.ndarray  # (v,)
    inverse_penalty: np.ndarray  # (v,) matches / place of the last match


@torch.no_grad()
def _evaluate(
    blocks: Iterable[DistanceBlock], candidates: _Candidates, max_rank: int
) -> RetrievalMetrics:
    if max_rank < 1:
        raise ValueError(f"max_rank: expected at least 1, got {max_rank}")
    counter = _EntryCounter()
    scores = []
    for block in blocks:
        chunk = candidates.chunk(block.rows)
        if chunk.has_match():
            scores.append(_score(block.values, chunk, counter))
    if not scores:
        raise ValueError(_explain_no_match(candidates))
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


def _score(distances: Tensor, chunk: _ChunkCandidates, counter: _EntryCounter) -> _QueryScores:
    """AP = mean over matches of (matches so far / place), places counted without junk."""
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
    return _QueryScores(
        first_match=np.where(match, place, distances.shape[1]).min(axis=1),
        average_precision=precision.sum(axis=1) / num_matches,
        inverse_penalty=num_matches / np.where(match, place, 0).max(axis=1),
    )


class _EntryCounter:
    """Counts gallery entries in front of candidates; keeps its memory from chunk to chunk."""

    def __init__(self) -> None:
        self._cells = torch.empty(0, 0, dtype=torch.int32)

    def entries_before(
        self, distances: Tensor, values: np.ndarray, positions: np.ndarray
    ) -> np.ndarray:
        """Number of entries that a full stable sort would put before each candidate.

        Every distance falls into a cell between sorted limits; running sums of the cell counts
        are the wanted numbers. The limits are the candidates and the next larger floats, which
        separate a candidate from the entries equal to it.

        Args:
            distances: (c, G).
            values: (c, M) distances of the candidates, ascending.
            positions: (c, M) their places in the gallery.

        Returns:
            (c, M) int64.
        """
        limits = np.concatenate([values, np.nextafter(values, np.inf, dtype=values.dtype)], axis=1)
        order = limits.argsort(axis=1)
        limits = np.take_along_axis(limits, order, axis=1)
        place_in_limits = order.argsort(axis=1)
        below = self._entries_below(distances, limits)
        below = np.take_along_axis(below, place_in_limits, axis=1)
        smaller, not_larger = np.split(below, 2, axis=1)
        tied = not_larger - smaller > 1
        smaller[tied] += _ties_before(distances, tied.nonzero(), values[tied], positions[tied])
        return smaller

    def _entries_below(self, distances: Tensor, limits: np.ndarray) -> np.ndarray:
        """(c, L): how many of the (c, G) distances are smaller than each sorted limit."""
        num_rows, num_cells = len(limits), limits.shape[1] + 1
        if len(self._cells) < num_rows:
            self._cells = torch.empty_like(distances, dtype=torch.int32)
        cells = self._cells[:num_rows]
        sorted_limits = torch.from_numpy(limits).to(distances.device)
        torch.searchsorted(sorted_limits, distances, right=True, out_int32=True, out=cells)
        cells += torch.arange(num_rows, dtype=torch.int32, device=cells.device)[:, None] * num_cells
        counts = torch.bincount(cells.view(-1), minlength=num_rows * num_cells)
        return counts.cpu().numpy().reshape(num_rows, num_cells).cumsum(axis=1)[:, :-1]


def _ties_before(
    distances: Tensor, where: tuple[np.ndarray, ...], values: np.ndarray, positions: np.ndarray
) -> np.ndarray:
    """Entries equal to a candidate that stand earlier in the gallery: one number per candidate."""
    device = distances.device
    rows, limits, ends = (torch.from_numpy(a).to(device) for a in (where[0], values, positions))
    gallery = torch.arange(distances.shape[1], device=device)
    ties = torch.empty_like(rows)
    for part in chunk_slices(len(rows), distances.shape[1], TIE_ENTRIES / 2**20):
        equal = distances[rows[part]] == limits[part, None]
        equal &= gallery < ends[part, None]
        ties[part] = equal.sum(dim=1)
    return ties.cpu().numpy()


def _explain_no_match(candidates: _Candidates) -> str:
    ids = candidates.ids
    if not bool(candidates.counts.any()):
        return (
            f"0 of {len(ids.query_pids)} queries have a match: no query identity occurs in the "
            f"gallery; pids in the query {_preview(ids.query_pids)}, in the gallery "
            f"{_preview(ids.gallery_pids)}; both sides have to come from the same dataset"
        )
    return (
        f"0 of {len(ids.query_pids)} queries have a gallery image of the same identity from "
        f"another camera; cameras in the query {_preview(ids.query_camids)}, in the gallery "
        f"{_preview(ids.gallery_camids)}; set TEST.IGNORE_SAME_CAMERA False or give camera ids"
    )


def _preview(ids: np.ndarray, limit: int = 10) -> str:
    distinct = np.unique(ids)
    shown = ", ".join(str(i) for i in distinct[:limit])
    return "{" + shown + (", ..." if len(distinct) > limit else "") + "}"

"""The first entries of the rankings that the metrics score, for display."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
import torch
from torch import Tensor

from processor.metrics.distance import DistanceSource
from processor.metrics.identities import Identities
from processor.metrics.junk_rule import Candidates, ChunkCandidates
from processor.metrics.ordering import EntryCounter, nearest_entries
from processor.metrics.query_scores import score_queries
from processor.metrics.working_memory import WorkingMemory

ORDERS = ("best", "worst", "random")
ABSENT = -1  # padding in place of a gallery position


@dataclass(frozen=True, slots=True)
class RankEntry:
    """A gallery image in a query's ranking.

    Attributes:
        index: position in the gallery.
        distance: by which it is ranked.
        match: it shows the query's identity.
        junk: it is a match that the junk rule drops, from the query's camera.
    """

    index: int
    distance: float
    match: bool
    junk: bool


@dataclass(frozen=True, slots=True)
class RankList:
    """The first entries of a query's ranking.

    Attributes:
        query: position among the queries.
        entries: nearest first.
        average_precision: of the whole ranking; None if the gallery has no match.
        first_match: rank of the nearest match, from 1; None if the gallery has no match.
        num_junk: junk images in the whole gallery.
    """

    query: int
    entries: tuple[RankEntry, ...]
    average_precision: float | None
    first_match: int | None
    num_junk: int


@dataclass(frozen=True, slots=True, eq=False)
class Rankings:
    """The first entries of all queries' rankings.

    Attributes:
        candidates: gallery images of the queries' identities.
        positions: (Q, W) gallery positions, nearest first, then ABSENT.
        distances: (Q, W).
        average_precision: (Q,) NaN if the gallery has no match.
        first_match: (Q,) rank of the nearest match, from 1; 0 if the gallery has no match.
    """

    candidates: Candidates
    positions: np.ndarray
    distances: np.ndarray
    average_precision: np.ndarray
    first_match: np.ndarray

    @property
    def num_valid_queries(self) -> int:
        """Number of queries with a match."""
        return int((~np.isnan(self.average_precision)).sum())

    @property
    def mAP(self) -> float:
        """Mean over the queries with a match; NaN if there are none."""
        return float(np.nanmean(self.average_precision)) if self.num_valid_queries else float("nan")

    def rank_list(self, query: int) -> RankList:
        """The first entries of one ranking."""
        own = self.candidates.chunk(slice(query, query + 1))
        matches = set(own.positions[own.present].tolist())
        junk = set(own.positions[own.junk].tolist())
        entries = tuple(
            RankEntry(index, distance, index in matches, index in junk)
            for index, distance in zip(
                self.positions[query].tolist(), self.distances[query].tolist(), strict=True
            )
            if index != ABSENT
        )
        score = float(self.average_precision[query])
        first_match = int(self.first_match[query]) or None
        return RankList(query, entries, None if np.isnan(score) else score, first_match, len(junk))


@torch.no_grad()
def find_rankings(
    distances: DistanceSource,
    ids: Identities,
    memory: WorkingMemory,
    *,
    top: int = 10,
    most_junk: int = 5,
) -> Rankings:
    """Score all queries as `evaluate_features` does, and keep the first entries of their rankings.

    These are the `top` nearest images that count and, at their ranks between them, the nearest
    junk images. Equal distances come in gallery order.

    Args:
        distances: computes the blocks of the given query rows.
        ids: of both sides.
        memory: for one block, on the device that computes it.
        top: images that count.
        most_junk: junk images to keep.

    Raises:
        ValueError: `top` below 1 or `most_junk` below 0.
    """
    for name, number, least in (("top", top, 1), ("most_junk", most_junk, 0)):
        if number < least:
            raise ValueError(f"{name}: expected at least {least}, got {number}")
    candidates = Candidates.find(ids)
    limits = _Limits(min(top, len(candidates.by_pid)), most_junk)
    shape = (len(candidates.starts), limits.top + limits.most_junk)
    positions = np.full(shape, ABSENT, dtype=np.int64)
    values = np.full(shape, np.nan, dtype=np.float32)
    average_precision = np.full(len(candidates.starts), np.nan)
    first_match = np.zeros(len(candidates.starts), dtype=np.int64)
    counter = EntryCounter()
    for block in distances(candidates.blocks(memory.bytes_per_distance, memory)):
        chunk = candidates.chunk(block.rows)
        if chunk.match.any():
            scores = score_queries(block.values, chunk, counter)
            average_precision[block.rows][scores.valid] = scores.average_precision
            first_match[block.rows][scores.valid] = scores.first_match
        _keep_first(block.values, chunk, limits, positions[block.rows], values[block.rows])
    return Rankings(candidates, positions, values, average_precision, first_match)


@dataclass(frozen=True, slots=True)
class _Limits:
    top: int
    most_junk: int


def _keep_first(
    distances: Tensor,
    chunk: ChunkCandidates,
    limits: _Limits,
    positions: np.ndarray,
    values: np.ndarray,
) -> None:
    """Fill the (c, W) `positions` and `values` of c queries from their (c, G) distances."""
    widest_junk = int(chunk.junk.sum(axis=1).max(initial=0))
    nearest = nearest_entries(distances, limits.top + widest_junk)
    found, found_values = nearest.positions.cpu().numpy(), nearest.values.cpu().numpy()
    junk_positions = np.where(chunk.junk, chunk.positions, ABSENT)
    for row, place in enumerate(found):
        junk = np.isin(place, junk_positions[row])
        counted = (~junk).cumsum()
        kept_junk = (junk.cumsum() <= limits.most_junk) & (counted < limits.top)
        kept = np.where(junk, kept_junk, counted <= limits.top)
        positions[row, : kept.sum()] = place[kept]
        values[row, : kept.sum()] = found_values[row, kept]


def choose_queries(
    average_precision: np.ndarray, order: str, count: int, among: Sequence[int], seed: int = 0
) -> list[int]:
    """Choose the best, the worst or random queries, in display order.

    Best and worst are sorted by average precision, the most extreme first; queries without a score
    are never chosen. Equal ones and random ones keep the order of the queries.

    Args:
        average_precision: (Q,), NaN without a score.
        order: one of ORDERS.
        count: number of queries; fewer if `among` has fewer.
        among: the queries to choose from.
        seed: of a random choice.
    """
    if order == "random":
        return sorted(Random(seed).sample(list(among), min(count, len(among))))
    scored = [query for query in among if not np.isnan(average_precision[query])]
    sign = -1 if order == "best" else 1
    return sorted(scored, key=lambda query: sign * average_precision[query])[:count]

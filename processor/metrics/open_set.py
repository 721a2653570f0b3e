"""Open-set identification: name a query's identity, or say that it is unknown.

Half of the identities are enrolled, and the queries of the other half are unknown. The threshold of
a false accept rate is chosen on some identities and measured on others (Grother, Ngan and Hanaoka,
NIST IR 8271, 2019: false positive and true positive identification rates).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
import torch

from processor.metrics.distance import DistanceSource
from processor.metrics.identities import Identities
from processor.metrics.junk_rule import Candidates
from processor.metrics.working_memory import WorkingMemory

FALSE_IDENTIFICATION_RATES = (0.1, 0.01, 0.001)
NUM_REPEATS = 20  # of the draw of identities
FEWEST_IDENTITIES = 8  # two of each kind


@dataclass(frozen=True, slots=True)
class OpenSetPoint:
    """Results at one false accept rate, means over all draws of identities.

    Attributes:
        threshold: largest distance of an accepted query.
        identification_rate: share of the known queries that are accepted under their own name.
        deviation: its standard deviation over the draws.
        false_accept_rate: share of the unknown queries that are accepted, measured on other
            identities than the threshold was chosen on.
    """

    threshold: float
    identification_rate: float
    deviation: float
    false_accept_rate: float


@dataclass(frozen=True, slots=True)
class OpenSet:
    """Results of an open-set identification.

    Attributes:
        at_far: requested false accept rate -> results.
        num_identities: identities that take part, a quarter of each kind in a draw.
        num_unknown: unknown queries that a threshold is chosen on, mean over the draws.
    """

    at_far: dict[float, OpenSetPoint]
    num_identities: int
    num_unknown: float

    def measures(self, rate: float) -> bool:
        """Whether the unknown queries are enough for one false accept at this rate."""
        return rate * self.num_unknown >= 1


@dataclass(frozen=True, slots=True)
class NearestByIdentity:
    """Distances of queries to the nearest image of every identity.

    Attributes:
        distances: (Q, I) float32; junk does not count, inf = none is left.
        identities: (I,) pids of the gallery, ascending.
        query_pids: (Q,).
    """

    distances: np.ndarray
    identities: np.ndarray
    query_pids: np.ndarray

    @property
    def own(self) -> np.ndarray:
        """(Q,) distances to the nearest image of the query's own identity."""
        columns = np.searchsorted(self.identities, self.query_pids)
        columns = np.minimum(columns, len(self.identities) - 1)
        present = self.identities[columns] == self.query_pids
        return np.where(present, self.distances[np.arange(len(columns)), columns], np.inf)


@torch.no_grad()
def nearest_by_identity(
    distances: DistanceSource, ids: Identities, memory: WorkingMemory
) -> NearestByIdentity:
    """The smallest distance of every query to every gallery identity.

    Args:
        distances: computes the blocks of the given query rows.
        ids: of both sides.
        memory: for one block.
    """
    candidates = Candidates.find(ids)
    identities, starts = np.unique(ids.gallery_pids[candidates.by_pid], return_index=True)
    nearest = np.empty((len(ids.query_pids), len(identities)), dtype=np.float32)
    for block in distances(candidates.blocks(memory.bytes_per_distance + 4, memory)):
        values = block.values.float().cpu().numpy().copy()
        chunk = candidates.chunk(block.rows)
        rows, columns = np.nonzero(chunk.junk)
        values[rows, chunk.positions[rows, columns]] = np.inf
        nearest[block.rows] = np.minimum.reduceat(values[:, candidates.by_pid], starts, axis=1)
    return NearestByIdentity(nearest, identities, ids.query_pids)


def identify_open_set(
    nearest: NearestByIdentity,
    rates: Sequence[float] = FALSE_IDENTIFICATION_RATES,
    *,
    num_repeats: int = NUM_REPEATS,
    seed: int = 0,
) -> OpenSet | None:
    """Identification rates at false accept rates, over random draws of identities.

    A draw divides the identities that have a query with a match into four parts: known and unknown
    ones to choose a threshold on, known and unknown ones to measure it on. The gallery holds the
    images of the known identities of the same purpose only. A query is accepted under the name of
    the nearest gallery image if that is within the threshold.

    Args:
        nearest: distances of the queries to all identities.
        rates: false accept rates.
        num_repeats: draws.
        seed: of the draws.

    Returns:
        The results, or None with fewer than FEWEST_IDENTITIES identities.
    """
    people = np.unique(nearest.query_pids[np.isfinite(nearest.own)]).tolist()
    if len(people) < FEWEST_IDENTITIES:
        return None
    quarter = len(people) // 4
    results: dict[float, list[tuple[float, float, float]]] = {rate: [] for rate in rates}
    sizes = []
    for repeat in range(num_repeats):
        drawn = Random(f"open set {seed} {repeat}").sample(people, 4 * quarter)
        parts = [drawn[start : start + quarter] for start in range(0, 4 * quarter, quarter)]
        chosen, measured = (_search(nearest, *parts[i : i + 2]) for i in (0, 2))
        sizes.append(len(chosen.unknown))
        for rate in rates:
            limit = chosen.threshold(rate)
            accepted = float((measured.unknown <= limit).mean())
            results[rate].append((limit, float((measured.right <= limit).mean()), accepted))
    points = {rate: _summarize(np.array(rows)) for rate, rows in results.items()}
    return OpenSet(points, len(people), float(np.mean(sizes)))


@dataclass(frozen=True, slots=True)
class _Searched:
    """Distances of the nearest enrolled image.

    Attributes:
        right: of known queries; inf where another identity is nearer.
        unknown: of unknown queries, ascending.
    """

    right: np.ndarray
    unknown: np.ndarray

    def threshold(self, rate: float) -> float:
        """The largest threshold that accepts at most this share of the unknown queries."""
        allowed = int(rate * len(self.unknown) + 1e-9)
        if allowed >= len(self.unknown):
            return float(self.unknown[-1])
        return float(np.nextafter(self.unknown[allowed], np.float32(-np.inf)))


def _search(nearest: NearestByIdentity, known: Sequence[int], unknown: Sequence[int]) -> _Searched:
    """Search for the queries of both kinds among the images of the known identities."""
    columns = np.searchsorted(nearest.identities, known)
    best = nearest.distances[:, columns].min(axis=1)
    with_match = np.isin(nearest.query_pids, known) & np.isfinite(nearest.own)
    right = np.where(nearest.own <= best, best, np.inf)[with_match]
    return _Searched(right, np.sort(best[np.isin(nearest.query_pids, unknown)]))


def _summarize(rows: np.ndarray) -> OpenSetPoint:
    threshold, identified, accepted = rows.mean(axis=0).tolist()
    return OpenSetPoint(threshold, identified, float(rows[:, 1].std()), accepted)

"""Same identity or not: error rates of distance thresholds over all query-gallery pairs.

Nothing is sorted or kept: a first pass over the distances counts the pairs by the upper bits of
their distances, a second one by the lower bits, only where a threshold that is looked for lies. So
a billion pairs take the memory of a block and the time of two evaluations, and thresholds and rates
are those of a full sort of the float32 distances.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from processor.metrics.distance import DistanceBlock, DistanceSource, bytes_per_distance
from processor.metrics.matches import Candidates, explain_no_match

FALSE_ACCEPT_RATES = (1e-2, 1e-3, 1e-4)
FEWEST_ERRORS = 30  # for a rate to be measured ("rule of 30", Doddington et al. 2000)
FINE_BITS = 14  # of a float32 distance, not looked at in the first pass
NUM_FINE = 2**FINE_BITS
NUM_COARSE = 0x7F800000 >> FINE_BITS  # cells of the finite numbers that are not below zero
BYTES_PER_PAIR = 16  # of a block besides its distances: bits, cells and what they are made of
NONE_ACCEPTED = -1.0  # a threshold below all distances


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """What comes of taking pairs up to a distance for pairs of one identity.

    Attributes:
        threshold: the largest distance that is accepted; below zero, none is.
        far: false accept rate, share of the impostor pairs that are accepted.
        tar: true accept rate, share of the genuine pairs that are accepted.
    """

    threshold: float
    far: float
    tar: float


@dataclass(frozen=True, slots=True, eq=False)
class PairCounts:
    """Pairs by distance, in C ascending cells.

    Attributes:
        limits: (C,) float32, the largest distance of each cell.
        genuine: (C,) int64, pairs of one identity that are not junk.
        impostor: (C,) int64, pairs of two identities.
    """

    limits: np.ndarray
    genuine: np.ndarray
    impostor: np.ndarray

    @property
    def far(self) -> np.ndarray:
        """(C,) false accept rates of the limits as thresholds."""
        return self.impostor.cumsum() / self.impostor.sum()

    @property
    def tar(self) -> np.ndarray:
        """(C,) true accept rates of the limits as thresholds."""
        return self.genuine.cumsum() / self.genuine.sum()

    def at_far(self, rate: float) -> OperatingPoint:
        """The largest limit with at most that false accept rate."""
        return self._point(self._exceeding(rate) - 1)

    def equal_error(self) -> OperatingPoint:
        """The limit where false accept and false reject rates (1 - tar) are closest."""
        crossing = self._crossing()
        points = [self._point(place) for place in (crossing - 1, crossing)]
        return min(points, key=lambda point: abs(point.far - (1 - point.tar)))

    def decisive_cells(self, rates: Sequence[float]) -> np.ndarray:
        """Ascending cells within which the results of `at_far` and `equal_error` lie."""
        return np.unique([*(self._exceeding(rate) for rate in rates), self._crossing()])

    def _exceeding(self, rate: float) -> int:
        """The first cell at whose limit the false accept rate is larger."""
        return int(np.searchsorted(self.far, rate, side="right"))

    def _crossing(self) -> int:
        """The first cell at whose limit no fewer impostors are accepted than genuine rejected."""
        return int(np.argmax(self.far >= 1 - self.tar))

    def _point(self, place: int) -> OperatingPoint:
        if place < 0:
            return OperatingPoint(NONE_ACCEPTED, 0.0, 0.0)
        return OperatingPoint(
            float(self.limits[place]), float(self.far[place]), float(self.tar[place])
        )


@dataclass(frozen=True, slots=True, eq=False)
class Verification:
    """Error rates of thresholds.

    Attributes:
        counts: all pairs; cells are single distances around the thresholds below.
        num_genuine: pairs of one identity that are not junk.
        num_impostor: pairs of two identities.
        equal_error: where false accept and false reject rates are closest.
        at_far: false accept rate asked for -> the largest threshold that keeps to it.
    """

    counts: PairCounts
    num_genuine: int
    num_impostor: int
    equal_error: OperatingPoint
    at_far: dict[float, OperatingPoint]

    @property
    def eer(self) -> float:
        """Equal error rate: the mean of both rates where they are closest."""
        return (self.equal_error.far + 1 - self.equal_error.tar) / 2

    def measures(self, rate: float) -> bool:
        """Whether there are impostor pairs enough to measure a false accept rate."""
        return rate * self.num_impostor >= FEWEST_ERRORS


@torch.no_grad()
def verify(
    distances: DistanceSource,
    candidates: Candidates,
    device: torch.device,
    *,
    rates: Sequence[float] = FALSE_ACCEPT_RATES,
    chunk_mb: float = 256,
) -> Verification:
    """Count errors over all pairs of a query and a gallery image that is not junk for it.

    Args:
        distances: makes the blocks of given query rows, the same ones each time it is asked;
            float32, those below zero count as zero.
        candidates: where the queries' identities stand in the gallery, and the junk rule.
        device: where the distances are made.
        rates: false accept rates, above 0 and below 1.
        chunk_mb: MiB of working memory for one chunk of queries.

    Raises:
        ValueError: no pair of one identity, or none of two; a rate out of range.
    """
    for rate in rates:
        if not 0 < rate < 1:
            raise ValueError(f"false accept rates: expected above 0 and below 1, got {rate}")
    per_pair = bytes_per_distance(device) + BYTES_PER_PAIR

    def count(cells_of: Callable[[Tensor], Tensor], num_cells: int) -> np.ndarray:
        blocks = distances(candidates.slices(per_pair, chunk_mb, device))
        return _count_pairs(blocks, candidates, cells_of, num_cells)

    totals = count(lambda bits: bits >> FINE_BITS, NUM_COARSE)
    _check_both_kinds(totals, candidates)
    limits = ((np.arange(NUM_COARSE) + 1) << FINE_BITS) - 1
    chosen = _as_counts(limits, totals).decisive_cells(rates)
    fine = count(partial(_fine_cells, _numbered(chosen, device)), (len(chosen) + 1) * NUM_FINE)
    fine_limits = (chosen[:, None] << FINE_BITS) + np.arange(NUM_FINE)
    counts = _as_counts(
        np.concatenate([np.delete(limits, chosen), fine_limits.ravel()]),
        np.concatenate([np.delete(totals, chosen, axis=1), fine[:, NUM_FINE:]], axis=1),
    )
    return Verification(
        counts,
        int(counts.genuine.sum()),
        int(counts.impostor.sum()),
        counts.equal_error(),
        {rate: counts.at_far(rate) for rate in rates},
    )


def _count_pairs(
    blocks: Iterable[DistanceBlock],
    candidates: Candidates,
    cells_of: Callable[[Tensor], Tensor],
    num_cells: int,
) -> np.ndarray:
    """(2, num_cells) genuine and impostor pairs.

    Args:
        blocks: of distances.
        candidates: which pairs are of one identity, and which of them are junk.
        cells_of: int32 bits of distances -> their cells.
        num_cells: how many there are.
    """
    totals = np.zeros((2, num_cells), dtype=np.int64)
    for block in blocks:
        chunk = candidates.chunk(block.rows)
        cells = cells_of(_ordered_bits(block.values))
        own = cells.gather(1, torch.from_numpy(chunk.positions).to(cells.device)).cpu().numpy()
        everyone = torch.bincount(cells.flatten(), minlength=num_cells).cpu().numpy()
        totals[0] += np.bincount(own[chunk.present & ~chunk.junk], minlength=num_cells)
        totals[1] += everyone - np.bincount(own[chunk.present], minlength=num_cells)
    return totals


def _ordered_bits(distances: Tensor) -> Tensor:
    """Float32 distances as int32 in the same order."""
    return distances.float().clamp_min(0).abs_().view(torch.int32)  # abs: -0 has a sign


def _numbered(chosen: np.ndarray, device: torch.device) -> Tensor:
    """(NUM_COARSE,) int32: 1, 2, ... at the chosen cells, 0 elsewhere."""
    numbers = torch.zeros(NUM_COARSE, dtype=torch.int32)
    numbers[torch.from_numpy(chosen)] = torch.arange(1, len(chosen) + 1, dtype=torch.int32)
    return numbers.to(device)


def _fine_cells(numbers: Tensor, bits: Tensor) -> Tensor:
    """NUM_FINE cells for each chosen coarse cell, after as many for all else."""
    return numbers[bits >> FINE_BITS] * NUM_FINE + (bits & (NUM_FINE - 1))


def _as_counts(limits: np.ndarray, totals: np.ndarray) -> PairCounts:
    """Sorted counts of (2, C) `totals`; `limits` (C,) are the bits of the largest distances."""
    order = limits.argsort()
    return PairCounts(limits[order].astype(np.int32).view(np.float32), *totals[:, order])


def _check_both_kinds(totals: np.ndarray, candidates: Candidates) -> None:
    genuine, impostor = totals.sum(axis=1)
    if not genuine:
        raise ValueError(explain_no_match(candidates))
    if not impostor:
        raise ValueError("no pair of two identities: all query and gallery images are of one")

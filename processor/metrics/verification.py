"""Verification: same identity or not, by a threshold on the distance of every query-gallery pair.

The distances are neither sorted nor stored: a first pass counts the pairs by the upper bits of
their float32 distances, a second pass by the lower bits where a requested threshold lies. So a
billion pairs take the memory of a block and the time of two evaluations, and thresholds and rates
equal those of a full sort.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from processor.metrics.distance import DistanceBlock, DistanceSource
from processor.metrics.identities import Identities
from processor.metrics.junk_rule import Candidates, explain_no_match
from processor.metrics.pair_counts import OperatingPoint, PairCounts
from processor.metrics.working_memory import WorkingMemory

FALSE_ACCEPT_RATES = (1e-2, 1e-3, 1e-4)
FEWEST_ERRORS = 30  # for a measured rate ("rule of 30", Doddington et al. 2000)
FINE_BITS = 14  # of a float32 distance, ignored in the first pass
NUM_FINE = 2**FINE_BITS
NUM_COARSE = 0x7F800000 >> FINE_BITS  # cells of the finite numbers that are not negative
BYTES_PER_PAIR = 16  # of a block in addition to its distances: bits, cells and temporaries


@dataclass(frozen=True, slots=True, eq=False)
class Verification:
    """Error rates of thresholds.

    Attributes:
        counts: all pairs; around the thresholds below, each cell is a single distance.
        num_genuine: pairs of one identity that are not junk.
        num_impostor: pairs of two identities.
        equal_error: where false accept and false reject rates are closest.
        at_far: requested false accept rate -> the largest threshold that does not exceed it.
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
        """Whether the impostor pairs are enough to measure a false accept rate."""
        return rate * self.num_impostor >= FEWEST_ERRORS


@torch.no_grad()
def verify(
    distances: DistanceSource,
    ids: Identities,
    memory: WorkingMemory,
    *,
    rates: Sequence[float] = FALSE_ACCEPT_RATES,
) -> Verification:
    """Count errors over all pairs of a query and a gallery image that is not junk for it.

    Args:
        distances: computes the blocks of the given query rows, identical in every call; float32,
            negative ones count as zero.
        ids: of both sides.
        memory: for one block, on the device that computes it.
        rates: false accept rates, above 0 and below 1.

    Raises:
        ValueError: no genuine pair, or no impostor pair; a rate out of range.
    """
    for rate in rates:
        if not 0 < rate < 1:
            raise ValueError(f"false accept rates: expected above 0 and below 1, got {rate}")
    candidates = Candidates.find(ids)
    per_pair = memory.bytes_per_distance + BYTES_PER_PAIR

    def count(cells_of: Callable[[Tensor], Tensor], num_cells: int) -> np.ndarray:
        blocks = distances(candidates.blocks(per_pair, memory))
        return _count_pairs(blocks, candidates, cells_of, num_cells)

    totals = count(coarse_cells, NUM_COARSE)
    _check_both_kinds(totals, candidates)
    return count_exactly(totals, count, rates, memory.device)


CountPairs: TypeAlias = Callable[[Callable[[Tensor], Tensor], int], np.ndarray]
"""(int32 bits of distances -> cells, number of cells) -> (2, cells) genuine and impostor pairs."""


def coarse_cells(bits: Tensor) -> Tensor:
    """The cells of the first pass, NUM_COARSE of them."""
    return bits >> FINE_BITS


def count_exactly(
    totals: np.ndarray, count: CountPairs, rates: Sequence[float], device: torch.device
) -> Verification:
    """Error rates from the first pass's counts and a second pass around the thresholds.

    Args:
        totals: (2, NUM_COARSE) pairs in `coarse_cells`, some of each kind.
        count: counts all pairs again, in other cells.
        rates: false accept rates.
        device: of the distances.
    """
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
        candidates: the pairs of one identity, and the junk among them.
        cells_of: int32 bits of distances -> their cells.
        num_cells: number of cells.
    """
    totals = np.zeros((2, num_cells), dtype=np.int64)
    for block in blocks:
        chunk = candidates.chunk(block.rows)
        cells = cells_of(ordered_bits(block.values))
        own = cells.gather(1, torch.from_numpy(chunk.positions).to(cells.device)).cpu().numpy()
        once = _count_once(candidates.ids, block.rows)
        counted = cells if once is None else cells[torch.from_numpy(once).to(cells.device)]
        mine = True if once is None else np.take_along_axis(once, chunk.positions, axis=1)
        everyone = torch.bincount(counted.flatten(), minlength=num_cells).cpu().numpy()
        totals[0] += np.bincount(own[chunk.match & mine], minlength=num_cells)
        totals[1] += everyone - np.bincount(own[chunk.present & mine], minlength=num_cells)
    return totals


def _count_once(ids: Identities, rows: slice) -> np.ndarray | None:
    """(c, G) bool: without the second of two pairs of the same images; None = all pairs differ."""
    if ids.own_places is None:
        return None
    is_query = np.zeros(len(ids.gallery_pids), dtype=bool)
    is_query[ids.own_places[ids.own_places >= 0]] = True
    own = ids.own_places[rows, None]
    return ~is_query | (np.arange(len(is_query)) > own)  # own is -1 for a query outside


def ordered_bits(distances: Tensor) -> Tensor:
    """Float32 distances as int32 in the same order."""
    return distances.float().clamp_min(0).abs_().view(torch.int32)  # abs: -0 has a sign


def _numbered(chosen: np.ndarray, device: torch.device) -> Tensor:
    """(NUM_COARSE,) int32: 1, 2, ... at the chosen cells, 0 elsewhere."""
    numbers = torch.zeros(NUM_COARSE, dtype=torch.int32)
    numbers[torch.from_numpy(chosen)] = torch.arange(1, len(chosen) + 1, dtype=torch.int32)
    return numbers.to(device)


def _fine_cells(numbers: Tensor, bits: Tensor) -> Tensor:
    """NUM_FINE cells for each chosen coarse cell, after NUM_FINE for all others together."""
    return numbers[bits >> FINE_BITS] * NUM_FINE + (bits & (NUM_FINE - 1))


def _as_counts(limits: np.ndarray, totals: np.ndarray) -> PairCounts:
    """Counts from (2, C) `totals`, sorted by `limits` (C,), the bits of the largest distances."""
    order = limits.argsort()
    return PairCounts(limits[order].astype(np.int32).view(np.float32), *totals[:, order])


def _check_both_kinds(totals: np.ndarray, candidates: Candidates) -> None:
    genuine, impostor = totals.sum(axis=1)
    if not genuine:
        raise ValueError(explain_no_match(candidates))
    if not impostor:
        raise ValueError(
            "no pair of two identities: all query and gallery images are of one identity"
        )

"""A same/different threshold from the features of images with names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from processor.metrics.checks import FeatureArray
from processor.metrics.distance import distance_blocks
from processor.metrics.normalize import unit_rows
from processor.metrics.verification import (
    BYTES_PER_PAIR,
    NUM_COARSE,
    coarse_cells,
    count_exactly,
    ordered_bits,
)
from processor.metrics.working_memory import WorkingMemory


@dataclass(frozen=True, slots=True)
class Threshold:
    """Two images show one identity if the distance of their unit features does not exceed it.

    Attributes:
        distance: the largest accepted Euclidean distance.
        far: false accept rate, the accepted share of the impostor pairs.
        tar: true accept rate, the accepted share of the genuine pairs.
        eer: equal error rate over all thresholds; 0.5 is guessing.
        num_genuine: pairs of one name.
        num_impostor: pairs of two names.
    """

    distance: float
    far: float
    tar: float
    eer: float
    num_genuine: int
    num_impostor: int


@torch.no_grad()
def find_threshold(
    features: FeatureArray,
    names: Sequence[Any],
    cameras: Sequence[Any] | None = None,
    far: float = 1e-3,
) -> Threshold:
    """The threshold that accepts the most pairs at a false accept rate of at most `far`.

    Every pair of images counts once; with cameras, pairs from one camera do not count.

    Args:
        features: (N, D), scaled to unit length here.
        names: (N,) identities; None, NaN, "" and -1 are missing.
        cameras: (N,) cameras, likewise, or None.
        far: above 0 and below 1.

    Raises:
        ValueError: see `unit_rows`; lengths that differ, missing names or cameras, `far` out of
            range, no pair of one kind, or more than `far` of the pairs of two names are at distance
            0.
    """
    if not 0 < far < 1:
        raise ValueError(f"far: expected above 0 and below 1, got {far}")
    unit = unit_rows(features)
    own = _numbers("names", names, unit)
    seen = None if cameras is None else _numbers("cameras", cameras, unit)
    memory = WorkingMemory(256, unit.device)
    columns = torch.arange(len(unit), device=unit.device)

    def count(cells_of: Callable[[Tensor], Tensor], num_cells: int) -> np.ndarray:
        totals = np.zeros((2, num_cells), dtype=np.int64)
        per_row = (memory.bytes_per_distance + BYTES_PER_PAIR) * len(unit)
        for block in distance_blocks(unit, unit, memory.blocks(len(unit), per_row)):
            rows = columns[block.rows]
            counts = columns > rows[:, None]
            if seen is not None:
                counts &= seen != seen[rows, None]
            same = own == own[rows, None]
            cells = cells_of(ordered_bits(block.values))
            for kind, chosen in enumerate((counts & same, counts & ~same)):
                found = torch.bincount(cells[chosen], minlength=num_cells)
                totals[kind] += found.cpu().numpy()
        return totals

    totals = count(coarse_cells, NUM_COARSE)
    for kind, number in zip(("one name", "two names"), totals.sum(1), strict=True):
        if not number:
            apart = " from different cameras" if cameras is not None else ""
            raise ValueError(f"find_threshold: no two images of {kind}{apart}")
    verified = count_exactly(totals, count, (far,), unit.device)
    point, counts = verified.at_far[far], verified.counts
    if point.threshold < 0:
        raise ValueError(
            f"find_threshold: more than {far:.2%} of the pairs of two names are at distance 0, so "
            "no threshold separates them: look for equal images under two names"
        )
    # Between the last accepted pair and the first one that would be too many, whose predecessor the
    # limit is: rounding must not move a pair across.
    accepted = counts.limits[counts.limits <= point.threshold]
    occupied = np.flatnonzero((counts.genuine + counts.impostor)[: len(accepted)])
    last = float(accepted[occupied[-1]]) if len(occupied) else 0.0
    distance = (last**0.5 + point.threshold**0.5) / 2
    return Threshold(
        distance, point.far, point.tar, verified.eer, verified.num_genuine, verified.num_impostor
    )


def _numbers(option: str, values: Sequence[Any], features: Tensor) -> Tensor:
    """(N,) equal numbers for equal values; raises ValueError for another length."""
    if len(values) != len(features):
        raise ValueError(f"{option}: {len(values)} for {len(features)} features")
    numbers: dict[Any, int] = {}
    plain = values.tolist() if isinstance(values, np.ndarray | Tensor) else values
    missing = sum(value in (None, "", -1, "-1") or value != value for value in plain)
    if missing:
        raise ValueError(f"{option}: {missing} are missing; leave these images out")
    found = [numbers.setdefault(value, len(numbers)) for value in plain]
    return torch.tensor(found, dtype=torch.long, device=features.device)

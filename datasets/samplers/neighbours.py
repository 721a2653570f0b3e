"""The graph of look-alike identities (CLIP-DFGS, TOMM 2024); pure functions."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from torch import Tensor

logger = logging.getLogger(__name__)

BLOCK_ENTRIES = 2**24  # distances computed at once: 64 MB in float32


@torch.no_grad()
def nearest_identities(features: Tensor, num_neighbours: int = 10, skip: int = 0) -> Tensor:
    """The nearest other rows of every row, by Euclidean distance on the rows as given.

    Works in blocks on the features' device; memory grows with I x (num_neighbours + skip).

    Args:
        features: (I, D), one row per identity.
        num_neighbours: k, neighbours per row.
        skip: m, how many of the nearest are left out before taking k.

    Returns:
        (I, k) long on the features' device, nearest first, never the row itself; fewer columns,
        with a warning, when there are fewer than k + m other rows.

    Raises:
        ValueError: fewer than two rows, nothing left after skipping, or values that are not finite.
    """
    if features.ndim != 2 or len(features) < 2:
        raise ValueError(f"a graph needs two identities or more, got features {features.shape}")
    if num_neighbours < 1 or skip < 0:
        raise ValueError(f"num_neighbours {num_neighbours} and skip {skip}: at least 1 and 0")
    others = len(features) - 1
    if skip >= others:
        raise ValueError(f"skip {skip}: there are only {others} other identities")
    if num_neighbours + skip > others:
        logger.warning(
            "%d neighbours after skipping %d: only %d other identities, taking %d",
            num_neighbours,
            skip,
            others,
            others - skip,
        )
    columns = min(num_neighbours + skip, others)
    # Distances do not change when all rows are shifted, and rounding errors shrink.
    rows = features.float() - features.float().mean(0)
    if not bool(rows.isfinite().all()):
        raise ValueError("features of identities are infinite or not numbers")
    squares = rows.square().sum(1)
    nearest = torch.empty(len(rows), columns, dtype=torch.long, device=rows.device)
    step = max(1, BLOCK_ENTRIES // len(rows))
    with torch.autocast(rows.device.type, enabled=False):
        for start in range(0, len(rows), step):
            block = rows[start : start + step]
            distances = torch.addmm(
                squares, block, rows.T, alpha=-2
            )  # less |x|^2, the same per row
            itself = torch.arange(len(block), device=rows.device)
            distances[itself, itself + start] = torch.inf
            nearest[start : start + step] = distances.topk(columns, largest=False).indices
    return nearest[:, skip:]


def mutual_neighbours(neighbours: Tensor) -> Tensor:
    """The (I, k) rows with -1 in place of every neighbour that does not have the row as its own."""
    own = torch.arange(len(neighbours), device=neighbours.device)[:, None, None]
    mutual = (neighbours[neighbours] == own).any(2)
    return torch.where(mutual, neighbours, -1)


def mean_hits(batches: Sequence[Sequence[int]], neighbours: Sequence[Sequence[int]]) -> float:
    """How many of an identity's neighbours are in its batch, on average; 0 without batches."""
    hits = visits = 0
    for batch in batches:
        members = set(batch)
        hits += sum(len(members.intersection(neighbours[label])) for label in batch)
        visits += len(batch)
    return hits / max(visits, 1)

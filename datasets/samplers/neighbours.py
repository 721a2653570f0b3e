"""The graph of look-alike identities that DFGS and GS walk over; pure functions."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from torch import Tensor

logger = logging.getLogger(__name__)

BLOCK_ENTRIES = 2**24  # distances per block: 64 MB in float32


@torch.no_grad()
def nearest_identities(features: Tensor, num_neighbours: int = 10, skip: int = 0) -> Tensor:
    """The nearest other rows of every row, by Euclidean distance between the rows as given.

    Computes the distances in blocks on the features' device; memory grows with
    I x (num_neighbours + skip).

    Args:
        features: (I, D), one row per identity.
        num_neighbours: k, neighbours per row.
        skip: m, number of nearest rows to leave out before taking k.

    Returns:
        (I, k) long on the features' device, nearest first, never the row itself. With fewer than
        k + m other rows, fewer columns and a warning.

    Raises:
        ValueError: fewer than two rows, no neighbour left after skipping, or a value is not finite.
    """
    if features.ndim != 2 or len(features) < 2:
        raise ValueError(
            f"a graph needs two identities or more, got features of shape {tuple(features.shape)}"
        )
    if num_neighbours < 1 or skip < 0:
        raise ValueError(
            f"num_neighbours must be >= 1 and skip >= 0, got {num_neighbours} and {skip}"
        )
    others = len(features) - 1
    if skip >= others:
        raise ValueError(f"skip {skip} leaves no neighbour: only {others} other identities exist")
    if num_neighbours + skip > others:
        logger.warning(
            "%d neighbours after skipping %d: only %d other identities exist, taking %d",
            num_neighbours,
            skip,
            others,
            others - skip,
        )
    columns = min(num_neighbours + skip, others)
    # Centering leaves the distances unchanged and reduces rounding errors.
    rows = features.float() - features.float().mean(0)
    if not bool(rows.isfinite().all()):
        raise ValueError("features of identities must be finite")
    squares = rows.square().sum(1)
    nearest = torch.empty(len(rows), columns, dtype=torch.long, device=rows.device)
    step = max(1, BLOCK_ENTRIES // len(rows))
    with torch.autocast(rows.device.type, enabled=False):
        for start in range(0, len(rows), step):
            block = rows[start : start + step]
            # Squared distances without |block|^2, which is constant in a row.
            distances = torch.addmm(squares, block, rows.T, alpha=-2)
            itself = torch.arange(len(block), device=rows.device)
            distances[itself, itself + start] = torch.inf
            nearest[start : start + step] = distances.topk(columns, largest=False).indices
    return nearest[:, skip:]


def mutual_neighbours(neighbours: Tensor) -> Tensor:
    """The (I, k) rows with -1 in place of neighbours that do not have the row as neighbour."""
    own = torch.arange(len(neighbours), device=neighbours.device)[:, None, None]
    mutual = (neighbours[neighbours] == own).any(2)
    return torch.where(mutual, neighbours, -1)


def mean_hits(batches: Sequence[Sequence[int]], neighbours: Sequence[Sequence[int]]) -> float:
    """Mean number of an identity's neighbours that share its batch; 0 without batches."""
    hits = visits = 0
    for batch in batches:
        members = set(batch)
        hits += sum(len(members.intersection(neighbours[label])) for label in batch)
        visits += len(batch)
    return hits / max(visits, 1)

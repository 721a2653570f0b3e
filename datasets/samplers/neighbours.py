"""The graph of look-alike identities that DFGS and GS walk over; pure functions."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor

logger = logging.getLogger(__name__)

BLOCK_ENTRIES = 2**24  # distances per block: 64 MB in float32
NUM_HITS = 10  # nearest identities that count as hits, whatever the walk links

Batch = TypeVar("Batch")


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
    rows = _centered(features)
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


@torch.no_grad()
def join_features(kinds: Sequence[Tensor]) -> Tensor:
    """Several kinds of features as one in which each counts alike, whatever its scale.

    The squared distance of two rows is the sum over the kinds of their squared distances there,
    each divided by its mean over all pairs. One kind stays as it is.

    Args:
        kinds: (I, D) each, one row per identity.

    Raises:
        ValueError: as `nearest_identities`.
    """
    if len(kinds) == 1:
        return kinds[0]
    centered = [_centered(part) for part in kinds]
    device = centered[0].device
    return torch.cat([part.to(device) / part.norm() for part in centered], dim=1)


def _centered(features: Tensor) -> Tensor:
    """Features around 0, which leaves distances unchanged and reduces rounding; checked."""
    if features.ndim != 2 or len(features) < 2:
        raise ValueError(
            f"a graph needs two identities or more, got features of shape {tuple(features.shape)}"
        )
    rows = features.float() - features.float().mean(0)
    if not bool(rows.isfinite().all()):
        raise ValueError("features of identities must be finite")
    return rows


def thirds(batches: Sequence[Batch]) -> tuple[Sequence[Batch], ...]:
    """The first, middle and last third of the batches."""
    ends = [round(len(batches) * part / 3) for part in range(4)]
    return tuple(batches[a:b] for a, b in pairwise(ends))


def longest_stretch(groups: Sequence[Collection[int]]) -> int:
    """The most batches in a row that hold one domain alone, and the same one.

    Args:
        groups: the domains of every batch.
    """
    longest = current = 0
    before: int | None = None
    for group in groups:
        own = next(iter(group)) if len(set(group)) == 1 else None
        current = 0 if own is None else current + 1 if own == before else 1
        before = own
        longest = max(longest, current)
    return longest


def mean_hits(batches: Sequence[Sequence[int]], neighbours: Sequence[Sequence[int]]) -> float:
    """Mean number of an identity's neighbours that share its batch; 0 without batches."""
    hits = visits = 0
    for batch in batches:
        members = set(batch)
        hits += sum(len(members.intersection(neighbours[label])) for label in batch)
        visits += len(batch)
    return hits / max(visits, 1)

"""The graph of look-alike identities and walks over it (CLIP-DFGS, TOMM 2024); pure functions."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from random import Random

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


@dataclass(frozen=True, slots=True)
class Walk:
    """Batches of distinct identities, in the order of a walk.

    Attributes:
        batches: labels, P in each.
        restarts: how often the walk ran dry and began again elsewhere.
        extra: labels at the end of the last batch that fill it beyond their number of visits.
    """

    batches: list[list[int]]
    restarts: int
    extra: int


def depth_first_walk(
    neighbours: Sequence[Sequence[int]],
    visits: Sequence[int],
    num_pids: int,
    rng: Random,
    *,
    shuffle_rows: bool = True,
) -> Walk:
    """Fill batches by walking from an identity to its look-alikes, depth first (CLIP-DFGS, 3.3).

    Every identity is visited as often as it has chunks. When the walk runs dry it restarts at a
    random identity that has not been visited yet, or else at any with chunks left, so that no
    identity and no separate part of the graph is missed. An identity that is met while it is in the
    open batch already comes back after that batch. The last batch is dropped unless it holds an
    identity that no other batch has; then it is filled with look-alikes of its identities.

    Args:
        neighbours: look-alikes of every label, nearest first.
        visits: chunks that every label has.
        num_pids: P, distinct labels in a batch.
        rng: source of randomness.
        shuffle_rows: visit an identity's neighbours in random order instead of nearest first.
    """
    remaining = list(visits)
    left = _RandomSet(label for label, count in enumerate(remaining) if count)
    fresh = _RandomSet(left.items)
    stack: deque[int] = deque()
    deferred: list[int] = []
    batches: list[list[int]] = []
    batch: dict[int, None] = {}  # ordered, with quick membership
    starts = 0
    while left.items:
        if not stack:
            start = fresh.draw(rng, batch) if fresh.items else None
            start = left.draw(rng, batch) if start is None else start
            if start is None:
                break  # fewer than P distinct identities remain
            stack.append(start)
            starts += 1
        label = stack.pop()
        if label not in left:
            continue
        if label in batch:
            deferred.append(label)
            continue
        batch[label] = None
        fresh.discard(label)
        remaining[label] -= 1
        if not remaining[label]:
            left.discard(label)
        if len(batch) == num_pids:
            batches.append(list(batch))
            batch = {}
            stack.extendleft(reversed(deferred))
            deferred = []
        row = list(neighbours[label])
        if shuffle_rows:
            rng.shuffle(row)
        stack.extend(other for other in reversed(row) if other in left)
    extra = 0
    if batch and not {label for full in batches for label in full}.issuperset(batch):
        fillers = _fillers(list(batch), neighbours, visits, rng)
        extra = num_pids - len(batch)
        batches.append([*batch, *fillers[:extra]])
    return Walk(batches, max(starts - 1, 0), extra)


def _fillers(
    batch: list[int], neighbours: Sequence[Sequence[int]], visits: Sequence[int], rng: Random
) -> list[int]:
    """Labels outside the batch: first those that look like its labels, then the rest at random."""
    alike = dict.fromkeys(other for label in batch for other in neighbours[label])
    rest = list(range(len(visits)))
    rng.shuffle(rest)
    members = set(batch)
    order = dict.fromkeys([*alike, *rest])
    return [label for label in order if visits[label] and label not in members]


class _RandomSet:
    """A set that draws random members in constant time."""

    def __init__(self, items: Iterable[int]) -> None:
        self.items = list(items)
        self._places = {item: place for place, item in enumerate(self.items)}

    def __contains__(self, item: int) -> bool:
        return item in self._places

    def discard(self, item: int) -> None:
        """Remove a member; the last one takes its place."""
        place = self._places.pop(item, None)
        if place is not None:
            last = self.items.pop()
            if last != item:
                self.items[place] = last
                self._places[last] = place

    def draw(self, rng: Random, unwanted: Container[int]) -> int | None:
        """A random member outside `unwanted`, None when there is none."""
        for _ in range(8):
            item = self.items[int(rng.random() * len(self.items))]
            if item not in unwanted:
                return item
        wanted = [item for item in self.items if item not in unwanted]
        return rng.choice(wanted) if wanted else None


def mean_hits(batches: Sequence[Sequence[int]], neighbours: Sequence[Sequence[int]]) -> float:
    """How many of an identity's neighbours are in its batch, on average; 0 without batches."""
    hits = visits = 0
    for batch in batches:
        members = set(batch)
        hits += sum(len(members.intersection(neighbours[label])) for label in batch)
        visits += len(batch)
    return hits / max(visits, 1)

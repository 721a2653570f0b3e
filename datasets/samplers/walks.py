"""Ways through the graph of look-alike identities that fill batches; pure functions."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from random import Random


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
    return _end_walk(batches, list(batch), num_pids, neighbours, visits, rng, max(starts - 1, 0))


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


def greedy_walk(
    neighbours: Sequence[Sequence[int]], visits: Sequence[int], num_pids: int, rng: Random
) -> Walk:
    """Fill every batch with the identities that are most linked to it already.

    A batch starts at a random identity that has not been visited yet, or else at any with chunks
    left. Then comes, again and again, the identity with the most links to the batch, in either
    direction; among equals the one with the most chunks left, so that no identity is left over.
    Every link inside a batch is a hit, so this raises hits directly, where a depth-first walk gets
    them along the way.

    Args:
        neighbours: look-alikes of every label.
        visits: chunks that every label has.
        num_pids: P, distinct labels in a batch.
        rng: source of randomness.
    """
    linked: list[list[int]] = [list(row) for row in neighbours]
    for label, row in enumerate(neighbours):
        for other in row:
            linked[other].append(label)  # a link in both directions counts twice
    remaining = list(visits)
    left = _RandomSet(label for label, count in enumerate(remaining) if count)
    fresh = _RandomSet(left.items)
    batches: list[list[int]] = []
    batch: dict[int, None] = {}
    restarts = 0
    while len(left.items) >= num_pids or fresh.items:
        batch, links = {}, Counter[int]()
        while len(batch) < num_pids:
            chosen = _most_linked(links, remaining, rng)
            if chosen is None:
                chosen = fresh.draw(rng, batch) if fresh.items else None
                chosen = left.draw(rng, batch) if chosen is None and left.items else chosen
                restarts += bool(batch)
            if chosen is None:
                break
            batch[chosen] = None
            fresh.discard(chosen)
            links.pop(chosen, None)
            links.update(x for x in linked[chosen] if x in left and x not in batch)
        for label in batch:
            remaining[label] -= 1
            if not remaining[label]:
                left.discard(label)
        if len(batch) < num_pids:
            break
        batches.append(list(batch))
        batch = {}
    return _end_walk(batches, list(batch), num_pids, neighbours, visits, rng, restarts)


def _most_linked(links: Counter[int], remaining: Sequence[int], rng: Random) -> int | None:
    """The label with the most links, then the most chunks left, then by lot; None without links."""
    if not links:
        return None
    most = max(links.values())
    best = [label for label, count in links.items() if count == most]
    return max(best, key=lambda label: (remaining[label], rng.random()))


def _end_walk(
    batches: list[list[int]],
    batch: list[int],
    num_pids: int,
    neighbours: Sequence[Sequence[int]],
    visits: Sequence[int],
    rng: Random,
    restarts: int,
) -> Walk:
    """Drop the open batch, or fill it up when it holds an identity that no other batch has."""
    extra = 0
    if batch and not {label for full in batches for label in full}.issuperset(batch):
        extra = num_pids - len(batch)
        batches.append([*batch, *_fillers(batch, neighbours, visits, rng)[:extra]])
    return Walk(batches, restarts, extra)


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

"""Walks over the graph of look-alike identities that fill batches; pure functions."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, slots=True)
class Walk:
    """Batches of distinct identities, in the order of the walk.

    Attributes:
        batches: P labels each.
        restarts: number of times that the walk ran out of neighbours and started elsewhere.
        extra: number of labels at the end of the last batch that fill it beyond their visits.
    """

    batches: list[list[int]]
    restarts: int
    extra: int = 0


def depth_first_walk(
    neighbours: Sequence[Sequence[int]],
    visits: Sequence[int],
    num_pids: int,
    rng: Random,
    *,
    shuffle_rows: bool = True,
    domains: Sequence[int] | None = None,
) -> Walk:
    """Fill batches by walking from an identity to its look-alikes, depth first (CLIP-DFGS, 3.3).

    Every identity is visited once per chunk. When the walk runs out of neighbours, it restarts at a
    random unvisited identity, or at any identity with chunks left, so every identity and every
    component of the graph is visited. An identity that is already in the open batch is deferred to
    the next one. The last, incomplete batch is dropped unless it holds an identity that no other
    batch has; then it is filled with look-alikes of its identities.

    Args:
        neighbours: look-alikes of every label, nearest first.
        visits: number of chunks of every label.
        num_pids: P, distinct labels in a batch.
        rng: source of randomness.
        shuffle_rows: visit an identity's neighbours in random order instead of nearest first.
        domains: data set of every label; new starts alternate between them. None = anywhere.
    """
    left = _Left(visits, domains, rng)
    stack: deque[int] = deque()
    deferred: list[int] = []
    batches: list[list[int]] = []
    batch: dict[int, None] = {}  # ordered, with quick membership
    starts = 0
    while left:
        if not stack:
            start = left.draw_start(batch)
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
        left.visit(label)
        if len(batch) == num_pids:
            batches.append(list(batch))
            batch = {}
            stack.extendleft(reversed(deferred))
            deferred = []
        row = list(neighbours[label])
        if shuffle_rows:
            rng.shuffle(row)
        stack.extend(other for other in reversed(row) if other in left)
    walk = Walk(batches, restarts=max(starts - 1, 0))
    return _close(walk, list(batch), num_pids, neighbours, visits, rng)


def greedy_walk(
    neighbours: Sequence[Sequence[int]],
    visits: Sequence[int],
    num_pids: int,
    rng: Random,
    *,
    domains: Sequence[int] | None = None,
) -> Walk:
    """Fill every batch with the identities that have the most links to it.

    A batch starts at a random unvisited identity, or at any identity with chunks left. Then the
    identity with the most links to the batch, in either direction, is added until the batch is
    full; ties go to the identity with the most chunks left, so none is left over. Links inside a
    batch are hits: this walk maximizes them directly, a depth-first walk only indirectly.

    Args:
        neighbours: look-alikes of every label.
        visits: number of chunks of every label.
        num_pids: P, distinct labels in a batch.
        rng: source of randomness.
        domains: data set of every label; new starts alternate between them. None = anywhere.
    """
    linked: list[list[int]] = [list(row) for row in neighbours]
    for label, row in enumerate(neighbours):
        for other in row:
            linked[other].append(label)  # a link in both directions counts twice
    left = _Left(visits, domains, rng)
    batches: list[list[int]] = []
    batch: dict[int, None] = {}
    restarts = 0
    while len(left) >= num_pids or left.has_unvisited:
        batch, links = {}, Counter[int]()
        while len(batch) < num_pids:
            chosen = _most_linked(links, left.remaining, rng)
            if chosen is None:
                chosen = left.draw_start(batch)
                restarts += bool(batch)
            if chosen is None:
                break
            batch[chosen] = None
            links.pop(chosen, None)
            links.update(x for x in linked[chosen] if x in left and x not in batch)
        for label in batch:
            left.visit(label)
        if len(batch) < num_pids:
            break
        batches.append(list(batch))
        batch = {}
    return _close(Walk(batches, restarts), list(batch), num_pids, neighbours, visits, rng)


def _most_linked(links: Counter[int], remaining: Sequence[int], rng: Random) -> int | None:
    """The label with the most links, then the most chunks left, then at random; else None."""
    if not links:
        return None
    most = max(links.values())
    best = [label for label, count in links.items() if count == most]
    return max(best, key=lambda label: (remaining[label], rng.random()))


def _close(
    walk: Walk,
    batch: list[int],
    num_pids: int,
    neighbours: Sequence[Sequence[int]],
    visits: Sequence[int],
    rng: Random,
) -> Walk:
    """Drop the open batch, or fill it up if it holds an identity that no other batch has."""
    if not batch or {label for full in walk.batches for label in full}.issuperset(batch):
        return walk
    extra = num_pids - len(batch)
    last = [*batch, *_fillers(batch, neighbours, visits, rng)[:extra]]
    return Walk([*walk.batches, last], walk.restarts, extra)


def _fillers(
    batch: list[int], neighbours: Sequence[Sequence[int]], visits: Sequence[int], rng: Random
) -> list[int]:
    """Labels outside the batch: look-alikes of its labels first, then the rest in random order."""
    alike = dict.fromkeys(other for label in batch for other in neighbours[label])
    rest = list(range(len(visits)))
    rng.shuffle(rest)
    members = set(batch)
    order = dict.fromkeys([*alike, *rest])
    return [label for label in order if visits[label] and label not in members]


class _Left:
    """The labels with visits left, and the next start among them.

    Args:
        visits: number of visits of every label.
        domains: data set of every label, to alternate between; None = one for all.
        rng: source of randomness.
    """

    def __init__(self, visits: Sequence[int], domains: Sequence[int] | None, rng: Random) -> None:
        self.remaining = list(visits)
        self.rng = rng
        self._domains = [0] * len(visits) if domains is None else list(domains)
        labels = [label for label, count in enumerate(visits) if count]
        names = sorted(set(self._domains))
        self._place = {domain: place for place, domain in enumerate(names)}
        self._turn = rng.randrange(len(names)) if len(names) > 1 else 0
        by_domain = [[x for x in labels if self._domains[x] == domain] for domain in names]
        self._left = [_RandomSet(items) for items in by_domain]
        self._unvisited = [_RandomSet(items) for items in by_domain]

    def __len__(self) -> int:
        return sum(len(part.items) for part in self._left)

    def __contains__(self, label: int) -> bool:
        return self.remaining[label] > 0

    @property
    def has_unvisited(self) -> bool:
        """Whether a label has not been visited at all."""
        return any(part.items for part in self._unvisited)

    def visit(self, label: int) -> None:
        """Count a visit."""
        place = self._place[self._domains[label]]
        self._unvisited[place].discard(label)
        self.remaining[label] -= 1
        if not self.remaining[label]:
            self._left[place].discard(label)

    def draw_start(self, unwanted: Container[int]) -> int | None:
        """A random label of the domain whose turn it is, preferably an unvisited one.

        None if all labels with visits left are unwanted.
        """
        count = len(self._left)
        for place in ((self._turn + step) % count for step in range(count)):
            start = self._unvisited[place].draw(self.rng, unwanted)
            start = self._left[place].draw(self.rng, unwanted) if start is None else start
            if start is not None:
                self._turn = (place + 1) % count
                return start
        return None


class _RandomSet:
    """A set that draws random members in constant time."""

    def __init__(self, items: Iterable[int]) -> None:
        self.items = list(items)
        self._places = {item: place for place, item in enumerate(self.items)}

    def discard(self, item: int) -> None:
        """Remove a member; the last member takes its place."""
        place = self._places.pop(item, None)
        if place is not None:
            last = self.items.pop()
            if last != item:
                self.items[place] = last
                self._places[last] = place

    def draw(self, rng: Random, unwanted: Container[int]) -> int | None:
        """A random member outside `unwanted`; None if there is none."""
        if not self.items:
            return None
        for _ in range(8):
            item = self.items[int(rng.random() * len(self.items))]
            if item not in unwanted:
                return item
        wanted = [item for item in self.items if item not in unwanted]
        return rng.choice(wanted) if wanted else None

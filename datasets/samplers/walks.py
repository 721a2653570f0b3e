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
    domains: Sequence[int] | None = None,
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
        domains: data set of every label; starts take turns between them. None = anywhere.
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
    neighbours: Sequence[Sequence[int]],
    visits: Sequence[int],
    num_pids: int,
    rng: Random,
    *,
    domains: Sequence[int] | None = None,
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
        domains: data set of every label; starts take turns between them. None = anywhere.
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


class _Left:
    """The labels with visits left, and where to start among them.

    Args:
        visits: number of visits of every label.
        domains: data set of every label, to take turns between; None = one for all.
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
        """Whether there is a label that has not been visited at all."""
        return any(part.items for part in self._unvisited)

    def visit(self, label: int) -> None:
        """Count a visit."""
        place = self._place[self._domains[label]]
        self._unvisited[place].discard(label)
        self.remaining[label] -= 1
        if not self.remaining[label]:
            self._left[place].discard(label)

    def draw_start(self, unwanted: Container[int]) -> int | None:
        """A random label of the domain whose turn it is, one without visits if there is one.

        None when all that have visits left are unwanted.
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
        """Remove a member; the last one takes its place."""
        place = self._places.pop(item, None)
        if place is not None:
            last = self.items.pop()
            if last != item:
                self.items[place] = last
                self._places[last] = place

    def draw(self, rng: Random, unwanted: Container[int]) -> int | None:
        """A random member outside `unwanted`, None when there is none."""
        if not self.items:
            return None
        for _ in range(8):
            item = self.items[int(rng.random() * len(self.items))]
            if item not in unwanted:
                return item
        wanted = [item for item in self.items if item not in unwanted]
        return rng.choice(wanted) if wanted else None

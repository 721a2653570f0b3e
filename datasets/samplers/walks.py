"""Walks over the graph of look-alike identities that fill batches; pure functions."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from datasets.samplers.visits import VisitsLeft

# Fewer passes or less: more hits, and a last third that is easier; `benchmarks/dfgs.py`.
MOST_PASSES = 3
SCARCITY = 0.5


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
    left = VisitsLeft(visits, domains, rng)
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
    left = VisitsLeft(visits, domains, rng)
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


def balanced_walk(
    neighbours: Sequence[Sequence[int]],
    visits: Sequence[int],
    num_pids: int,
    rng: Random,
    *,
    domains: Sequence[int] | None = None,
) -> Walk:
    """Fill batches depth first, with hard batches to the end of the epoch.

    A depth-first walk uses up the dense parts of the graph first. Here the visits are divided
    between up to MOST_PASSES walks. From an identity, a walk goes to the neighbour with the most
    links to the open batch, less SCARCITY times the visits that this neighbour's own neighbours
    have left, per visit of its own: an identity that will soon be without company is taken in time.
    Where no neighbour is left, the walk goes back to the identity before; where none of the batch
    has one, it restarts as `depth_first_walk` does.

    Args:
        neighbours: look-alikes of every label.
        visits: number of chunks of every label.
        num_pids: P, distinct labels in a batch.
        rng: source of randomness.
        domains: data set of every label; new starts alternate between them. None = anywhere.
    """
    mean_visits = sum(visits) / max(sum(count > 0 for count in visits), 1)
    passes = max(min(MOST_PASSES, round(mean_visits)), 1)
    offsets = [rng.random() for _ in visits]
    batches: list[list[int]] = []
    carried = [0] * len(visits)
    restarts = 0
    for number in range(1, passes + 1):
        own = [
            more + int(x + number * count / passes) - int(x + (number - 1) * count / passes)
            for more, x, count in zip(carried, offsets, visits, strict=True)
        ]
        company = _Company(neighbours, VisitsLeft(own, domains, rng))
        found, open_batch = company.fill_batches(num_pids, to_the_end=number == passes)
        batches += found.batches
        restarts += found.restarts
        carried = company.left.remaining
    walk = Walk(batches, restarts)
    return _close(walk, open_batch, num_pids, neighbours, visits, rng)


class _Company:
    """A pass of the balanced walk: what every label's neighbours still offer it.

    Args:
        neighbours: look-alikes of every label.
        left: the visits of the pass.
    """

    def __init__(self, neighbours: Sequence[Sequence[int]], left: VisitsLeft) -> None:
        self.left = left
        self._neighbours = neighbours
        self._linked = [set(row) for row in neighbours]  # in either direction
        for label, row in enumerate(neighbours):
            for other in row:
                self._linked[other].add(label)
        self._offered = [sum(left.remaining[x] for x in own) for own in self._linked]

    def fill_batches(self, num_pids: int, *, to_the_end: bool) -> tuple[Walk, list[int]]:
        """Full batches, and the open one: empty unless the pass goes on to its last label."""
        batches: list[list[int]] = []
        restarts = 0
        while len(self.left) >= num_pids or (to_the_end and self.left.has_unvisited):
            batch: list[int] = []
            path: list[int] = []
            links = Counter[int]()
            while len(batch) < num_pids:
                chosen = self._follow(path, batch, links)
                if chosen is None:
                    chosen = self.left.draw_start(batch)
                    restarts += bool(batch)
                if chosen is None:
                    return Walk(batches, restarts), batch
                batch.append(chosen)
                path.append(chosen)
                links.update(self._linked[chosen])
            self._visit(batch)
            batches.append(batch)
        return Walk(batches, restarts), []

    def _follow(self, path: list[int], batch: Sequence[int], links: Counter[int]) -> int | None:
        """The next label from the end of the path, which is cut where it leads nowhere."""
        while path:
            near = [x for x in self._neighbours[path[-1]] if x in self.left and x not in batch]
            if near:
                return max(near, key=lambda x: (self._worth(x, links), self.left.rng.random()))
            path.pop()
        return None

    def _visit(self, batch: Sequence[int]) -> None:
        for label in batch:
            self.left.visit(label)
            for other in self._linked[label]:
                self._offered[other] -= 1

    def _worth(self, label: int, links: Counter[int]) -> float:
        return links[label] - SCARCITY * self._offered[label] / self.left.remaining[label]


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

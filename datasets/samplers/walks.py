"""Walks over the graph of look-alike identities that fill batches; pure functions."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from datasets.samplers.visits import VisitsLeft

# Weight of the company that an identity could still find later, in the balanced walk; chosen with
# benchmarks/dfgs.py. A larger one makes the last third of an epoch harder, at fewer hits in all.
SCARCITY = 0.25


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
    scarcity: float = 0.0,
    domains: Sequence[int] | None = None,
) -> Walk:
    """Fill every batch with the identities that have the most links to it.

    A batch starts at a random unvisited identity, or at any identity with chunks left. Then the
    identity with the most links to the batch, in either direction, is added until the batch is
    full; ties go to the identity with the most chunks left, so none is left over. Links inside a
    batch are hits: this walk maximizes them directly, a depth-first walk only indirectly.

    Both walks use up the dense parts of the graph first. With `scarcity`, what an identity could
    still find in later batches counts against it: it is worth `links - scarcity * offered / own`,
    where `own` are its chunks left and `offered` those of all identities that it is linked to,
    twice where the link has both directions. So identities that would soon be alone are taken in
    time, and those that fit many batches are spared for the end of the epoch.

    Args:
        neighbours: look-alikes of every label.
        visits: number of chunks of every label.
        num_pids: P, distinct labels in a batch.
        rng: source of randomness.
        scarcity: 0 = most hits in the next batch; `SCARCITY` = equally hard to the end.
        domains: data set of every label; new starts alternate between them. None = anywhere.
    """
    linked: list[list[int]] = [list(row) for row in neighbours]
    for label, row in enumerate(neighbours):
        for other in row:
            linked[other].append(label)  # a link in both directions counts twice
    left = VisitsLeft(visits, domains, rng)
    offered = [sum(visits[other] for other in row) for row in linked]
    batches: list[list[int]] = []
    batch: list[int] = []
    restarts = 0
    while len(left) >= num_pids or left.has_unvisited:
        batch, starts = _fill_batch(
            linked, left, num_pids, lambda x: -scarcity * offered[x] / left.remaining[x]
        )
        restarts += max(starts - 1, 0)
        for label in batch:
            left.visit(label)
            for other in linked[label]:
                offered[other] -= 1
        if len(batch) < num_pids:
            break
        batches.append(batch)
        batch = []
    return _close(Walk(batches, restarts), batch, num_pids, neighbours, visits, rng)


def _fill_batch(
    linked: Sequence[Sequence[int]],
    left: VisitsLeft,
    num_pids: int,
    worth_alone: Callable[[int], float],
) -> tuple[list[int], int]:
    """A batch of the greedy walk, shorter than P at the end, and its number of starts."""
    batch: dict[int, None] = {}  # ordered, with quick membership
    worth: dict[int, float] = {}
    starts = 0
    while len(batch) < num_pids:
        if worth:
            chosen = _most_worth(worth, left)
        else:
            start = left.draw_start(batch)
            if start is None:
                break
            chosen = start
            starts += 1
        batch[chosen] = None
        worth.pop(chosen, None)
        for other in linked[chosen]:
            if other in left and other not in batch:
                worth[other] = worth.get(other, worth_alone(other)) + 1
    return list(batch), starts


def _most_worth(worth: Mapping[int, float], left: VisitsLeft) -> int:
    """The label that is worth most, then with the most chunks left, then at random."""
    most = max(worth.values())
    best = [label for label, value in worth.items() if value == most]
    return max(best, key=lambda label: (left.remaining[label], left.rng.random()))


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

"""Which identities a walk may still visit, and where it starts."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from random import Random


class VisitsLeft:
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

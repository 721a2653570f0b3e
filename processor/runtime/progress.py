"""Progress of a long loop: a bar on a terminal or in a notebook, log lines elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import Generic, TypeVar

from tqdm.auto import tqdm

from processor.runtime import distributed
from processor.runtime.log import CONSOLE_WIDTH

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 30.0

Item = TypeVar("Item")


class Progress(Generic[Item]):
    """Iterates over items and shows how far it is; only the first process shows anything.

    Args:
        items: anything to iterate over; with a length, the time left is shown as well.
        title: names the work.
        unit: the items' name, in the plural.

    Attributes:
        note: short text shown next to the count; may change at any time.
    """

    def __init__(self, items: Iterable[Item], title: str, unit: str = "batches") -> None:
        self.items = items
        self.title = title
        self.unit = unit
        self.total = len(items) if isinstance(items, Sized) else None
        self.note = ""

    def __iter__(self) -> Iterator[Item]:
        if not distributed.is_first():
            return iter(self.items)
        return self._with_bar() if _shows_bars() else self._with_lines()

    def _with_bar(self) -> Iterator[Item]:
        with tqdm(
            desc=self.title,
            total=self.total,
            unit=f" {self.unit}",
            leave=False,
            ncols=CONSOLE_WIDTH if sys.stderr.isatty() else None,
        ) as bar:
            for item in self.items:
                yield item
                if self.note:
                    bar.set_postfix_str(self.note, refresh=False)
                bar.update()

    def _with_lines(self) -> Iterator[Item]:
        started = said = time.monotonic()
        for done, item in enumerate(self.items, start=1):
            yield item
            now = time.monotonic()
            if now - said >= SECONDS_BETWEEN_LINES and done != self.total:
                said = now
                logger.info("%s", self._line(done, now - started))

    def _line(self, done: int, seconds: float) -> str:
        if self.total is None:
            count, left = f"{done:,}", ""
        else:
            count = f"{done:,} of {self.total:,}"
            left = f", {clock(seconds / done * (self.total - done))} left"
        note = f", {self.note}" if self.note else ""
        return f"{self.title}: {count} {self.unit}{note}{left}"


def _shows_bars() -> bool:
    """Whether somebody watches: on a terminal or in a notebook."""
    return sys.stderr.isatty() or "ipykernel" in sys.modules


def clock(seconds: float) -> str:
    """Seconds as minutes:seconds, or hours:minutes:seconds from an hour on."""
    whole = round(seconds)
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"

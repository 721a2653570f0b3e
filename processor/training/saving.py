"""When `last.pth` is written: after every epoch, unless that would take much of the time."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from processor.runtime import distributed

SHARE = 0.1  # of a run's time that may go into last.pth
SHORT = 1.0  # seconds; files that are written faster are always written


@dataclass
class SavingTimes:
    """Decides whether the next file is due, by how long the last one took.

    After a kill, a run repeats at most the epochs of ten times as long as a file takes to write.
    """

    _took: float = field(default=0.0, init=False)
    _ended: float = field(default_factory=time.monotonic, init=False)

    def is_due(self) -> bool:
        """Whether enough time has passed; the same on all processes."""
        passed = time.monotonic() - self._ended
        return distributed.broadcast(self._took < SHORT or self._took < SHARE * passed)

    def record(self, started: float) -> None:
        """A file has been written since `time.monotonic()` was `started`."""
        self._ended = time.monotonic()
        self._took = self._ended - started

"""SIGTERM as a request to save and stop."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any


class Interrupted(Exception):  # noqa: N818 - a request, not an error
    """The run was asked to stop; the state needed to resume has been saved."""


class StopRequest:
    """Records a SIGTERM, so that a loop can stop between two steps.

    Use as a context manager; outside the main thread, where Python delivers no signals, it never
    fires.
    """

    def __init__(self) -> None:
        self.requested = False
        self._previous: Any = None

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGTERM, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGTERM, self._previous)

    def check(self) -> None:
        """Raise Interrupted if a stop was requested."""
        if self.requested:
            raise Interrupted

    def _note(self, _signum: int, _frame: FrameType | None) -> None:
        self.requested = True

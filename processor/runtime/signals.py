"""SIGINT, SIGTERM, SIGHUP and SIGUSR1 as requests to stop.

Signal handlers are global to a process, so `stop_between_steps` is a function and the requests that
are listening form one stack.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from processor.runtime import distributed

NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")
SIGNALS = tuple(signal.Signals[name] for name in NAMES if hasattr(signal, name))  # Windows has two

_LISTENING: list[StopRequest] = []


class Interrupted(KeyboardInterrupt):
    """The program was asked to stop; what is needed to continue has been saved.

    Args:
        number: the signal.
    """

    def __init__(self, number: int = signal.SIGTERM) -> None:
        self.signal = signal.Signals(number)
        super().__init__(self.signal.name)

    @property
    def status(self) -> int:
        """The exit status that shells give to a program ended by the signal: 128 + number."""
        return 128 + self.signal


class StopRequest:
    """Records the first of SIGNALS, so that a loop can stop between two steps.

    Use as a context manager, which restores the previous handlers. It never fires outside the
    main thread, where Python delivers no signals. Signals that are ignored, as under nohup, stay
    ignored, and worker processes that inherit the handlers ignore all of SIGNALS.

    A second SIGINT goes to the previous handler: in most programs it raises KeyboardInterrupt.
    """

    def __init__(self) -> None:
        self.requested = False
        self.signal = signal.SIGTERM
        self._before: dict[signal.Signals, Any] = {}
        self._outer: StopRequest | None = None
        self._process = os.getpid()

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            self._outer = _LISTENING[-1] if _LISTENING else None
            _LISTENING.append(self)
            for number in SIGNALS:
                # None: another library listens in C and could not be restored.
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self in _LISTENING:
            _LISTENING.remove(self)

    def check(self) -> None:
        """Raise Interrupted if a stop was requested."""
        if self.requested:
            raise Interrupted(self.signal)

    def agree(self) -> bool:
        """Whether any process was asked to stop; then all of them take it as their own request."""
        if distributed.size() == 1:
            return self.requested
        asked = distributed.collect(self.signal if self.requested else None)
        for number in filter(None, asked):
            self.record(number)
        return self.requested

    def record(self, number: int) -> None:
        """Take a signal as the request, unless there is one already."""
        if not self.requested:
            self.signal, self.requested = signal.Signals(number), True
        if self._outer is not None:
            self._outer.record(number)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            return  # a worker, just forked
        if not self.requested:
            self.record(number)
            self._act()
        elif number == signal.SIGINT:
            self._end(frame)

    def _act(self) -> None:
        """Called at the first signal, in the middle of anything."""

    def _end(self, frame: FrameType | None) -> None:
        """Called at a second SIGINT."""
        handler = self._before.get(signal.SIGINT)
        if callable(handler):
            handler(signal.SIGINT, frame)


class ProgramStop(StopRequest):
    """The request to stop a whole program, which must own its process.

    The first signal raises Interrupted at once, or at the next step within `stop_between_steps`. A
    second SIGINT ends the process.
    """

    def __init__(self) -> None:
        super().__init__()
        self.steps = 0  # blocks of `stop_between_steps` around the running code

    def _act(self) -> None:
        if not self.steps:
            self.check()

    def _end(self, frame: FrameType | None) -> None:  # noqa: ARG002
        os._exit(Interrupted(signal.SIGINT).status)


@contextmanager
def stop_between_steps() -> Iterator[Callable[[], None]]:
    """A block in which a program stops only where the yielded function is called.

    Exceptions in the middle of a step could be lost in a library, or leave its workers behind. The
    function does nothing where no `ProgramStop` listens: in another program, or where a loop has a
    `StopRequest` of its own.
    """
    program = _LISTENING[-1] if _LISTENING else None
    if not isinstance(program, ProgramStop):
        yield lambda: None
        return
    program.steps += 1
    try:
        yield program.check
    finally:
        program.steps -= 1

"""The program's log: on the terminal and in a file."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from processor.runtime import distributed
from processor.runtime.files import make_folder

_LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class _Backlog(logging.Handler):
    """Keeps what was logged before there was a file to write it to."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


def log_to(path: Path | None = None) -> None:
    """Send the program's log to standard output and, with a path, to a file as well.

    The file begins with what was logged since `log_to` was first called without one. With several
    processes, the others than the first one say errors only.
    """
    root = logging.getLogger()
    root.setLevel(logging.INFO)
    if not distributed.is_first():
        root.setLevel(logging.ERROR)
        path = None
    logging.getLogger("timm").setLevel(logging.ERROR)  # remarks on schedules of one epoch
    earlier: list[logging.LogRecord] = []
    for old in [h for h in root.handlers if getattr(h, "of_this_program", False)]:
        earlier += old.records if isinstance(old, _Backlog) else []
        root.removeHandler(old)
        old.close()
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stdout)]
    if path is None:
        handlers.append(_Backlog())
    else:
        make_folder(path.parent)
        handlers.append(logging.FileHandler(path, encoding="utf-8"))
    formatter = logging.Formatter(_LOG_FORMAT, datefmt="%Y-%m-%d %H:%M:%S")
    for handler in handlers:
        handler.setFormatter(formatter)
        handler.of_this_program = True  # type: ignore[attr-defined]
        root.addHandler(handler)
    if path is not None:
        for record in earlier:
            handlers[-1].handle(record)

"""The program's log: short lines on the terminal, all details in a file."""

from __future__ import annotations

import logging
import sys
import textwrap
from pathlib import Path

from processor.runtime import distributed
from processor.runtime.files import make_folder

CONSOLE_WIDTH = 110
_PREFIX = __name__.removesuffix("processor.runtime.log")  # "clipreid." when installed
_PACKAGES = ("config", "datasets", "loss", "model", "processor", "solver")
_FILE_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class _ConsoleFormatter(logging.Formatter):
    """Messages without time and module, wrapped to CONSOLE_WIDTH columns.

    An error stays on one line, so that it can be searched for; tables keep their lines.
    """

    def format(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        if record.levelno >= logging.WARNING:
            text = f"{record.levelname.lower()}: {text}"
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        whole = record.levelno >= logging.ERROR or "\n" in text
        return text if whole else _wrap(text)


def _wrap(line: str) -> str:
    if len(line) <= CONSOLE_WIDTH:
        return line
    return "\n".join(
        textwrap.wrap(
            line,
            CONSOLE_WIDTH,
            subsequent_indent=" " * 9,
            break_long_words=False,  # paths can be copied in one piece
            break_on_hyphens=False,
        )
    )


class _Backlog(logging.Handler):
    """Keeps records until there is a file to write them to."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


def log_to(path: Path | None = None) -> None:
    """Send the program's log to standard output and, with a path, to a file as well.

    The terminal shows INFO and above, the file also DEBUG. The file begins with everything logged
    since `log_to` was first called without a path. With several processes, all but the first log
    errors only.
    """
    root = logging.getLogger()
    root.setLevel(logging.INFO)
    level = logging.DEBUG
    if not distributed.is_first():
        root.setLevel(logging.ERROR)
        level = logging.NOTSET
        path = None
    for package in _PACKAGES:
        logging.getLogger(_PREFIX + package).setLevel(level)
    logging.getLogger("timm").setLevel(logging.ERROR)  # remarks on schedules of one epoch
    earlier: list[logging.LogRecord] = []
    for old in [h for h in root.handlers if getattr(h, "of_this_program", False)]:
        earlier += old.records if isinstance(old, _Backlog) else []
        root.removeHandler(old)
        old.close()
    console = logging.StreamHandler(sys.stdout)
    console.setLevel(logging.INFO)
    console.setFormatter(_ConsoleFormatter())
    keeper: logging.Handler = _Backlog()
    if path is not None:
        make_folder(path.parent)
        keeper = logging.FileHandler(path, encoding="utf-8")
        keeper.setFormatter(logging.Formatter(_FILE_FORMAT, datefmt="%Y-%m-%d %H:%M:%S"))
    for handler in (console, keeper):
        handler.of_this_program = True  # type: ignore[attr-defined]
        root.addHandler(handler)
    if path is not None:
        for record in earlier:
            keeper.handle(record)

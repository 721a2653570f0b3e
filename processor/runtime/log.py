"""The program's log: short lines on the terminal, all details in a file."""

from __future__ import annotations

import logging
import os
import sys
import textwrap
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path, PurePath
from typing import Any

from config.text import printable
from processor.runtime import distributed
from processor.runtime.outputs import check_output_file

CONSOLE_WIDTH = 110
_PREFIX = __name__.removesuffix("processor.runtime.log")  # "clipreid." when installed
_PACKAGES = ("config", "datasets", "loss", "model", "processor", "solver")
_FILE_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class Lines(str):
    """An argument of a log message that is meant to fill several lines, such as a table."""

    __slots__ = ()


def _message(record: logging.LogRecord) -> str:
    """The message; text in its arguments may be from data and cannot begin another line."""
    if isinstance(record.args, tuple) and record.args:
        return str(record.msg) % tuple(map(_on_one_line, record.args))
    return record.getMessage()


def _on_one_line(argument: object) -> object:
    is_text = isinstance(argument, str | PurePath) and not isinstance(argument, Lines)
    return printable(str(argument)) if is_text else argument


class _FileFormatter(logging.Formatter):
    """Messages with time and module; nothing in them is hidden."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record), keep_lines=True)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        record.message = _message(record)
        return super().formatMessage(record)


class _ConsoleFormatter(logging.Formatter):
    """Messages without time and module, wrapped to CONSOLE_WIDTH columns.

    What a terminal would obey or cannot show is escaped. An error stays on one line, so that it
    can be searched for; tables keep their lines.
    """

    def format(self, record: logging.LogRecord) -> str:
        text = _message(record)
        if record.levelno >= logging.WARNING:
            text = f"{record.levelname.lower()}: {text}"
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        encoding = sys.stdout.encoding or "utf-8"
        text = (
            printable(text, keep_lines=True).encode(encoding, "backslashreplace").decode(encoding)
        )
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


class LogFile(logging.Handler):
    """The log file of a run; it begins with the records from before it was opened."""

    def __init__(self) -> None:
        super().__init__()
        self._early: list[logging.LogRecord] = []
        self._file: logging.FileHandler | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record, or keep it until there is a file."""
        if self._file is None:
            self._early.append(record)
        else:
            self._file.handle(record)

    def open(self, path: Path) -> None:
        """Write to a file from now on; with several processes, only the first one does."""
        if not distributed.is_first():
            return
        self._close_file()
        check_output_file(path, "OUTPUT_DIR")
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = logging.FileHandler(path, encoding="utf-8")
        self._file.setFormatter(_FileFormatter(_FILE_FORMAT, datefmt="%Y-%m-%d %H:%M:%S"))
        for record in self._early:
            self._file.handle(record)
        self._early.clear()

    def close(self) -> None:
        """Close the file."""
        self._close_file()
        super().close()

    def _close_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


class _Console(logging.StreamHandler[Any]):
    """Standard output; after an error nothing more is written to it.

    Attributes:
        lost: text could not be written. A reader that left, as `| head` does, loses nothing.
    """

    lost = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Say on standard error what failed."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
            return
        if not isinstance(error, BrokenPipeError):
            self.lost = True
            sys.stderr.write(f"error: standard output: {error.strerror}\n")
        with suppress(OSError, ValueError):  # not a file of the system
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.stream.fileno())


@contextmanager
def program_log() -> Iterator[None]:
    """Show the log on standard output; `run_log` in the block writes all of it to a file as well.

    The terminal shows INFO and above, the file also DEBUG. With several processes, all but the
    first log errors only. For scripts alone: levels and handlers of the root logger change.
    """
    root = logging.getLogger()
    first = distributed.is_first()
    levels = {root: logging.INFO if first else logging.ERROR}
    levels |= dict.fromkeys(_own_loggers(), logging.DEBUG if first else logging.NOTSET)
    levels[logging.getLogger("timm")] = logging.ERROR  # remarks on schedules of one epoch
    console = _Console(sys.stdout)
    console.setLevel(logging.INFO)
    console.setFormatter(_ConsoleFormatter())
    with ExitStack() as stack:
        for logger, level in levels.items():
            stack.callback(logger.setLevel, logger.level)
            logger.setLevel(level)
        for handler in (console, LogFile()):
            root.addHandler(handler)
            stack.callback(handler.close)
            stack.callback(root.removeHandler, handler)
        yield
        if console.lost:
            sys.exit(1)


@contextmanager
def run_log() -> Iterator[LogFile]:
    """The log file of a run, closed at the end of the block.

    Within `program_log` it receives what the terminal shows and more. Otherwise another program
    calls: the file receives this project's records alone, and that program's levels and handlers
    show what they show without it.
    """
    of_program = [x for x in logging.getLogger().handlers if isinstance(x, LogFile)]
    if of_program:
        yield of_program[0]
        return
    with closing(LogFile()) as file, ExitStack() as stack:
        for logger in _own_loggers():
            stack.enter_context(_copied_to(file, logger))
        yield file


def _own_loggers() -> list[logging.Logger]:
    """The topmost loggers of this project."""
    return [logging.getLogger(name) for name in ([_PREFIX[:-1]] if _PREFIX else _PACKAGES)]


@contextmanager
def _copied_to(file: LogFile, logger: logging.Logger) -> Iterator[None]:
    """Send a logger's records to a file as well, whatever the caller's level is."""
    caller = _Caller(logger)
    logger.handlers, logger.propagate = [file, caller], False
    logger.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        logger.handlers, logger.propagate = caller.before.handlers, caller.before.propagate
        logger.setLevel(caller.before.level)


class _Caller(logging.Handler):
    """Hands records on to the handlers that receive them without the file.

    Attributes:
        before: a copy of the logger as the caller left it.
    """

    def __init__(self, logger: logging.Logger) -> None:
        super().__init__()
        self.before = logging.Logger(logger.name, logger.level)  # noqa: LOG001
        self.before.handlers, self.before.propagate = logger.handlers, logger.propagate
        self.before.parent = logger.parent

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= self.before.getEffectiveLevel():
            self.before.callHandlers(record)

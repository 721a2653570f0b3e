"""The log on the terminal and in its file, of a script and of another program that calls."""

import io
import logging
import os
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from processor.runtime import log
from processor.runtime.log import CONSOLE_WIDTH, Lines, program_log, run_log


@contextmanager
def script_log(path):
    """The log of a script, in this file."""
    with program_log(), run_log() as file:
        file.open(path)
        yield file


def lines_of(path):
    """Lines of a log file without their time."""
    return [line[20:] for line in path.read_text(encoding="utf-8").splitlines()]


def test_terminal_shows_the_message_alone_and_the_file_time_and_module(tmp_path, capsys):
    with script_log(tmp_path / "log.txt"):
        logging.getLogger("processor.x").info("plain %d", 1)
        logging.getLogger("datasets.x").warning("doubtful")
        logging.getLogger("model.x").debug("detail")
        assert capsys.readouterr().out == "plain 1\nwarning: doubtful\n"
        assert lines_of(tmp_path / "log.txt") == [
            "INFO processor.x: plain 1",
            "WARNING datasets.x: doubtful",
            "DEBUG model.x: detail",
        ]


def test_file_begins_with_the_records_before_it(tmp_path):
    with program_log():
        logging.getLogger("config.x").debug("early")
        with run_log() as file:
            file.open(tmp_path / "log.txt")
    assert lines_of(tmp_path / "log.txt") == ["DEBUG config.x: early"]


def test_script_logs_other_libraries_to_the_latest_file_only(tmp_path, capsys):
    with script_log(tmp_path / "deep" / "one.txt") as file:
        logging.getLogger("somewhere").info("first %s", "line")
        file.open(tmp_path / "two.txt")
        logging.getLogger("somewhere").warning("second line")
        assert lines_of(tmp_path / "deep" / "one.txt") == ["INFO somewhere: first line"]
        assert lines_of(tmp_path / "two.txt") == ["WARNING somewhere: second line"]
        assert capsys.readouterr().out.count(" line\n") == 2


def test_long_lines_are_wrapped_on_the_terminal_only(tmp_path, capsys):
    with script_log(tmp_path / "log.txt"):
        words, path = "word " * 60, "/".join(["folder"] * 30)
        logging.getLogger("processor.x").info("%s", words + path)
        printed = capsys.readouterr().out.splitlines()
        *wrapped, last = printed
        assert max(map(len, wrapped)) <= CONSOLE_WIDTH < len(last)
        assert path in last
        assert " ".join(" ".join(printed).split()) == (words + path)
        assert words + path in (tmp_path / "log.txt").read_text(encoding="utf-8")


def test_details_of_other_libraries_stay_out(tmp_path):
    with script_log(tmp_path / "log.txt"):
        logging.getLogger("PIL.x").debug("chunk")
        assert lines_of(tmp_path / "log.txt") == []


def test_other_processes_log_errors_only(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("processor.runtime.distributed.is_first", lambda: False)
    with program_log(), run_log() as file:
        file.open(tmp_path / "log.txt")
        logging.getLogger("processor.x").warning("all have this")
        logging.getLogger("processor.x").error("mine")
    assert capsys.readouterr().out == "error: mine\n"
    assert not (tmp_path / "log.txt").exists()


def state_of_logging():
    names = (None, "timm", "clipreid", "config", "datasets", "processor", "processor.x")
    loggers = [logging.getLogger(name) for name in names]
    return [(list(x.handlers), x.level, x.propagate) for x in loggers]


@pytest.mark.parametrize("opened", [program_log, run_log])
def test_log_is_left_as_it_was_found_after_an_error(opened):
    before = state_of_logging()

    def fail():
        with opened():
            assert state_of_logging() != before
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert state_of_logging() == before


class Caller(logging.Handler):
    """A handler of another program; remembers what it receives."""

    def __init__(self):
        super().__init__()
        self.received = []

    def emit(self, record):
        self.received.append(f"{record.levelname} {record.getMessage()}")


@pytest.fixture
def caller():
    """A handler of the root logger, whose level is INFO."""
    root, handler = logging.getLogger(), Caller()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield handler
    root.setLevel(level)
    root.removeHandler(handler)


def log_lines():
    logging.getLogger("processor.x").info("ours")
    logging.getLogger("datasets.x").debug("our detail")
    logging.getLogger("service").warning("theirs")


def test_file_of_another_program_holds_our_lines_only(caller, tmp_path, capsys):
    with run_log() as file:
        log_lines()
        file.open(tmp_path / "log.txt")
        log_lines()
    ours = ["INFO processor.x: ours", "DEBUG datasets.x: our detail"]
    assert lines_of(tmp_path / "log.txt") == 2 * ours
    assert caller.received == 2 * ["INFO ours", "WARNING theirs"]
    log_lines()
    assert lines_of(tmp_path / "log.txt") == 2 * ours
    assert capsys.readouterr().out == ""


def test_levels_of_another_program_count_for_its_handlers(caller, tmp_path):
    own = Caller()
    logger = logging.getLogger("processor")
    logger.setLevel(logging.WARNING)
    logger.addHandler(own)
    try:
        with run_log() as file:
            file.open(tmp_path / "log.txt")
            logging.getLogger("processor.x").info("ours")
            logging.getLogger("processor.x").error("bad")
    finally:
        logger.removeHandler(own)
        logger.setLevel(logging.NOTSET)
    assert caller.received == own.received == ["ERROR bad"]
    assert len(lines_of(tmp_path / "log.txt")) == 2


def test_installed_copy_logs_by_its_own_name(caller, tmp_path, monkeypatch):
    monkeypatch.setattr(log, "_PREFIX", "clipreid.")
    with run_log() as file:
        file.open(tmp_path / "log.txt")
        logging.getLogger("clipreid.processor.x").debug("ours")
        logging.getLogger("datasets.x").info("of Hugging Face")
    assert lines_of(tmp_path / "log.txt") == ["DEBUG clipreid.processor.x: ours"]
    assert caller.received == ["INFO of Hugging Face"]


def test_names_from_data_are_not_obeyed_by_terminal_and_file(tmp_path, capsys):
    with script_log(tmp_path / "log.txt"):
        name = "a\x1b[31m\nINFO x: mAP: 99%" + os.fsdecode(b"\xe9")
        logging.getLogger("processor.x").info("%s: %d, %s", name, 1, Path("b\nc"))
        shown = "a\\x1b[31m\\nINFO x: mAP: 99%\\xe9: 1, b\\nc"
        assert capsys.readouterr().out == f"{shown}\n"
        assert lines_of(tmp_path / "log.txt") == [f"INFO processor.x: {shown}"]


def test_tables_and_errors_keep_their_lines(tmp_path, capsys):
    with script_log(tmp_path / "log.txt"):
        logging.getLogger("processor.x").info("title\n%s", Lines("head\n\trow \x1b"))
        logging.getLogger("processor.x").error("%s", ValueError("tried:\n  a\x1b"))
        table, error = "title\nhead\n\trow \\x1b", "tried:\n  a\\x1b"
        assert capsys.readouterr().out == f"{table}\nerror: {error}\n"
        file = (tmp_path / "log.txt").read_text(encoding="utf-8")
        assert f"INFO processor.x: {table}\n" in file
        assert file.endswith(f"ERROR processor.x: {error}\n")


def test_terminal_without_unicode_shows_escapes(monkeypatch):
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="ascii", write_through=True)
    monkeypatch.setattr(sys, "stdout", terminal)
    with program_log():
        logging.getLogger("processor.x").info("%s", "Özil")
    assert terminal.buffer.getvalue() == b"\\xd6zil\n"


class Full(io.StringIO):
    """Standard output on a full disk, or to a reader that has left."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def flush(self):
        raise self.error


def test_output_that_is_lost_is_one_line_and_a_failure(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdout", Full(OSError(28, "No space left on device")))
    with pytest.raises(SystemExit) as ended, program_log():
        logging.getLogger("processor.x").info("the answer")
    assert ended.value.code == 1
    assert capsys.readouterr().err == "error: standard output: No space left on device\n"


def test_closed_pipe_is_not_a_failure(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdout", Full(BrokenPipeError(32, "Broken pipe")))
    with program_log():
        logging.getLogger("processor.x").info("the rest")
    assert capsys.readouterr().err == ""

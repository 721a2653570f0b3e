"""The log on the terminal and in its file."""

import logging

import pytest

from processor.runtime.log import CONSOLE_WIDTH, log_to


@pytest.fixture(autouse=True)
def own_log():
    """Handlers and levels are restored afterwards."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    for handler in [h for h in root.handlers if h not in handlers]:
        root.removeHandler(handler)
        handler.close()
    root.setLevel(level)


def test_terminal_shows_the_message_alone_and_the_file_time_and_module(tmp_path, capsys):
    log_to(tmp_path / "log.txt")
    logging.getLogger("processor.x").info("plain %d", 1)
    logging.getLogger("datasets.x").warning("doubtful")
    logging.getLogger("model.x").debug("detail")
    assert capsys.readouterr().out == "plain 1\nwarning: doubtful\n"
    lines = (tmp_path / "log.txt").read_text(encoding="utf-8").splitlines()
    assert [line[20:] for line in lines] == [
        "INFO processor.x: plain 1",
        "WARNING datasets.x: doubtful",
        "DEBUG model.x: detail",
    ]


def test_file_begins_with_the_records_before_it(tmp_path):
    log_to()
    logging.getLogger("config.x").debug("early")
    log_to(tmp_path / "log.txt")
    assert (tmp_path / "log.txt").read_text(encoding="utf-8").endswith("DEBUG config.x: early\n")


def test_long_lines_are_wrapped_on_the_terminal_only(tmp_path, capsys):
    log_to(tmp_path / "log.txt")
    words, path = "word " * 60, "/".join(["folder"] * 30)
    logging.getLogger("processor.x").info("%s", words + path)
    printed = capsys.readouterr().out.splitlines()
    assert [len(line) <= CONSOLE_WIDTH for line in printed] == [True] * (len(printed) - 1) + [False]
    assert path in printed[-1]
    assert " ".join(" ".join(printed).split()) == (words + path)
    assert words + path in (tmp_path / "log.txt").read_text(encoding="utf-8")


def test_details_of_other_libraries_stay_out(tmp_path):
    log_to(tmp_path / "log.txt")
    logging.getLogger("PIL.x").debug("chunk")
    assert "chunk" not in (tmp_path / "log.txt").read_text(encoding="utf-8")


def test_other_processes_log_errors_only(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("processor.runtime.distributed.is_first", lambda: False)
    log_to(tmp_path / "log.txt")
    logging.getLogger("processor.x").warning("all have this")
    logging.getLogger("processor.x").error("mine")
    assert capsys.readouterr().out == "error: mine\n"
    assert not (tmp_path / "log.txt").exists()

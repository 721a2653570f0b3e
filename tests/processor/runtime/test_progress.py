"""Progress of long loops."""

import io
import logging

import pytest

from processor.runtime import progress
from processor.runtime.progress import Progress, clock


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0:00"), (59.6, "1:00"), (3599, "59:59"), (3725, "1:02:05")]
)
def test_clock_shows_hours_only_from_an_hour_on(seconds, text):
    assert clock(seconds) == text


def test_lines_come_every_half_minute_where_there_is_no_terminal(monkeypatch, caplog):
    now = iter([0.0, *range(10, 110, 10)])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(now))
    monkeypatch.setattr(progress.sys, "stderr", io.StringIO())
    with caplog.at_level(logging.INFO, logger="processor.runtime.progress"):
        assert list(Progress(range(10), "features of shop")) == list(range(10))
    assert [r.getMessage() for r in caplog.records] == [
        "features of shop: 3 of 10 batches, 1:10 left",
        "features of shop: 6 of 10 batches, 0:40 left",
        "features of shop: 9 of 10 batches, 0:10 left",
    ]


def test_notebook_shows_a_bar(monkeypatch, caplog):
    shown = []

    class Bar(progress.tqdm):
        def __init__(self, *_, **options):
            shown.append(options["desc"])
            super().__init__(file=io.StringIO(), **options)

    monkeypatch.setattr(progress, "tqdm", Bar)
    monkeypatch.setattr(progress.sys, "stderr", io.StringIO())
    monkeypatch.setitem(progress.sys.modules, "ipykernel", None)
    assert list(Progress("ab", "reading", "images")) == ["a", "b"]
    assert shown == ["reading"]
    assert caplog.records == []


def test_line_without_a_length_shows_count_and_note(monkeypatch, caplog):
    now = iter([0.0, 31.0, 32.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(now))
    monkeypatch.setattr(progress.sys, "stderr", io.StringIO())
    watched = Progress(iter("ab"), "reading", "images")
    with caplog.at_level(logging.INFO, logger="processor.runtime.progress"):
        for _ in watched:
            watched.note = "loss 6.67"
    assert [r.getMessage() for r in caplog.records] == ["reading: 1 images, loss 6.67"]


def test_terminal_shows_a_bar_and_no_log_lines(monkeypatch, caplog):
    terminal = Terminal()
    monkeypatch.setattr(progress.sys, "stderr", terminal)
    with caplog.at_level(logging.INFO, logger="processor.runtime.progress"):
        assert list(Progress([1, 2], "stage 2 epoch 1/3")) == [1, 2]
    assert "stage 2 epoch 1/3" in terminal.getvalue()
    assert not caplog.records


def test_other_processes_are_silent(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(progress.sys, "stderr", terminal)
    monkeypatch.setattr(progress.distributed, "is_first", lambda: False)
    assert list(Progress([1, 2], "features")) == [1, 2]
    assert terminal.getvalue() == ""

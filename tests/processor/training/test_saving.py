"""Saving takes a bounded share of a run."""

import time

from processor.training.saving import SavingTimes


def test_large_files_take_a_tenth_of_the_time(monkeypatch):
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    times = SavingTimes()
    assert times.is_due()  # nothing is known yet
    started, now = now, 106.0
    times.record(started)  # six seconds
    for passed, due in ((59.0, False), (61.0, True), (600.0, True)):
        now = 106.0 + passed
        assert times.is_due() == due


def test_small_files_are_always_written(monkeypatch):
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    times = SavingTimes()
    started, now = now, 100.9
    times.record(started)
    assert times.is_due()

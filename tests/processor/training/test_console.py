"""The lines that a training run prints."""

import logging
import re

import pytest

from processor.runtime.log import CONSOLE_WIDTH
from processor.training import console
from processor.training.console import EpochTable, epoch_table

STAGE2 = {
    "stage": 2,
    "epoch": 1,
    "loss": 7.318,
    "id": 1.049,
    "triplet": 0.971,
    "i2t": 5.298,
    "accuracy": 0.0349,
    "lr": 4e-4,
    "images_per_second": 628.4,
    "seconds": 2.5,
    "images": 1600,
    "bad_images": 0,
    "batches": 25,
    "hits": 3.64,
    "random_hits": 1.41,
    "domains": 1,
}
DSGL = {
    "stage": "dsgl",
    "epoch": 30,
    "loss": 3.1,
    "memory": 1.0,
    "disentangled": 2.0,
    "relative_entropy": 0.1,
    "accuracy": 0.5,
    "lr": 3.5e-4,
    "images_per_second": 12345.6,
    "clusters": 1234,
    "outliers": 12345,
    "ari": 0.601,
}


def lines_of(caplog, record, num_epochs):
    with caplog.at_level(logging.INFO, logger="processor.training.console"):
        EpochTable(num_epochs).log(record)
    return [r.getMessage() for r in caplog.records]


def test_stage_2_shows_loss_parts_accuracy_hits_rate_and_speed(caplog):
    head, row = lines_of(caplog, STAGE2, 30)
    heads = ["epoch", "loss", "id", "triplet", "i2t", "acc %", "hits", "random", "lr", "img/s"]
    assert re.split(r"\s{2,}| (?=triplet|i2t|random)", head.strip()) == [*heads, "time", "left"]
    assert row.split()[:10] == [
        *("1/30", "7.32", "1.05", "0.97", "5.30", "3.5", "3.6", "1.4", "4.0e-04", "628"),
    ]


@pytest.mark.parametrize("record", [STAGE2, DSGL])
def test_every_number_stands_below_the_end_of_its_title(caplog, record):
    head, row = lines_of(caplog, record, 30)
    assert len(head) == len(row) <= CONSOLE_WIDTH
    for column in epoch_table(record):
        end = re.search(rf"(?<!\w){re.escape(column.head)}(?!\w)", head).end()
        assert row[:end].endswith(column.cell(record))
        assert row[end : end + 1] in ("", " ")


def test_dsgl_shows_all_three_losses_and_its_clusters(caplog):
    head, row = lines_of(caplog, DSGL, 30)
    assert head.split()[1:5] == ["loss", "memory", "disentangled", "entropy"]
    assert row.split() == [
        *("30/30", "3.10", "1.00", "2.00", "0.10", "50.0", "1,234", "12,345", "0.60", "3.5e-04"),
        *("12,346", "0:00", "done"),
    ]


def test_parts_of_the_loss_that_do_not_fit_are_left_to_the_file():
    parts = {f"loss_with_a_{i}23456789012": float(i) for i in range(9)}
    record = {"stage": 2, "epoch": 1, "loss": 36.0, **parts, "accuracy": 0.5, "lr": 0.1}
    table = EpochTable(10)
    table.columns = epoch_table(record)
    assert [c.key for c in table.columns[:2]] == ["loss", "loss_with_a_023456789012"]
    assert len(table.head()) <= CONSOLE_WIDTH
    assert table.columns[-1].key == "lr"


def test_time_left_follows_from_the_epochs_so_far(caplog, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    table = EpochTable(12)
    with caplog.at_level(logging.INFO, logger="processor.training.console"):
        for epoch, seconds in ((11, 65.0), (12, 130.0)):  # resumed after epoch 10
            now[0] = 100.0 + seconds
            table.log({**STAGE2, "epoch": epoch})
    rows = [r.getMessage() for r in caplog.records[1:]]
    assert rows[0].split()[-2:] == ["1:05", "1:05"]
    assert rows[1].split()[-2:] == ["2:10", "done"]

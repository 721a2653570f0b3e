"""The lines a training run prints: stages, a table of epochs, evaluations."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from processor.results.report import EvaluationReport
from processor.runtime.log import CONSOLE_WIDTH
from processor.runtime.progress import clock

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the table of epochs.

    Attributes:
        head: its title, right-aligned.
        width: characters, without the space before it.
        key: of the epoch's record.
        scale: factor on the number.
        spec: format of the number.
    """

    head: str
    width: int
    key: str
    scale: float = 1.0
    spec: str = ".2f"

    def cell(self, record: Mapping[str, Any]) -> str:
        """The number of an epoch; empty where the record has none."""
        value = record.get(self.key)
        return "" if value is None else format(value * self.scale, self.spec)


AFTER_LOSSES = (
    Column("acc %", 6, "accuracy", 100, ".1f"),
    Column("hits", 5, "hits", spec=".1f"),
    Column("random", 6, "random_hits", spec=".1f"),
    Column("clusters", 8, "clusters", spec=",.0f"),
    Column("outliers", 8, "outliers", spec=",.0f"),
    Column("ARI", 5, "ari"),
    Column("lr", 7, "lr", spec=".1e"),
    Column("img/s", 6, "images_per_second", spec=",.0f"),
)
CLOCK_WIDTH = 7
LONGEST_HEAD = 12  # of a loss; of a longer name its last word stands for it


def epoch_table(record: Mapping[str, Any]) -> list[Column]:
    """The columns for the epochs of a stage, at most CONSOLE_WIDTH characters wide in all.

    Args:
        record: an epoch's line in metrics.jsonl: the parts of the loss stand between "loss" and
            "lr". Parts that do not fit are left to metrics.jsonl.
    """
    keys = list(record)
    parts = [key for key in keys[keys.index("loss") + 1 : keys.index("lr")] if key != "accuracy"]
    after = [column for column in AFTER_LOSSES if column.key in record]
    columns = [Column("loss", 7, "loss")]
    room = CONSOLE_WIDTH - CLOCK_WIDTH * 3 - sum(c.width + 1 for c in [*columns, *after])
    for name in parts if len(parts) > 1 else ():
        head = name if len(name) <= LONGEST_HEAD else name.rpartition("_")[2]
        column = Column(head, max(6, len(head)), name)
        room -= column.width + 1
        if room < 0:
            break
        columns.append(column)
    return [*columns, *after]


class EpochTable:
    """Logs a line per epoch below column heads, with the time passed and left.

    Args:
        num_epochs: epochs of the stage.
    """

    def __init__(self, num_epochs: int) -> None:
        self.num_epochs = num_epochs
        self.columns: list[Column] = []
        self._started = time.monotonic()
        self._done = 0

    def log(self, record: Mapping[str, Any]) -> None:
        """Log the epoch of a line of metrics.jsonl."""
        if not self.columns:
            self.columns = epoch_table(record)
            logger.info("%s", self.head())
        self._done += 1
        passed = time.monotonic() - self._started
        left = passed / self._done * (self.num_epochs - record["epoch"])
        logger.info("%s", self.row(record, passed, left))

    def head(self) -> str:
        """The line of column titles."""
        heads = " ".join(column.head.rjust(column.width) for column in self.columns)
        return f"{'epoch':>{CLOCK_WIDTH}} {heads}{'time':>{CLOCK_WIDTH}}{'left':>{CLOCK_WIDTH}}"

    def row(self, record: Mapping[str, Any], passed: float, left: float) -> str:
        """The line of an epoch; the times are in seconds."""
        cells = " ".join(column.cell(record).rjust(column.width) for column in self.columns)
        epoch = f"{record['epoch']}/{self.num_epochs}"
        rest = "done" if record["epoch"] == self.num_epochs else clock(left)
        return f"{epoch:>{CLOCK_WIDTH}} {cells}{clock(passed):>{CLOCK_WIDTH}}{rest:>{CLOCK_WIDTH}}"


def scores_line(report: EvaluationReport) -> str:
    """The scores of every target in one line, in percent."""
    parts = []
    for target in report.targets:
        scores = target.scores()
        ranks = " ".join(f"R{k} {100 * scores[f'rank{k}']:.1f}" for k in (1, 5))
        parts.append(f"{target.name} mAP {100 * scores['mAP']:.1f} {ranks}")
    return " | ".join(parts)

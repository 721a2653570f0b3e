"""The quantities of runs that are drawn together, and their values by epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Lines = Sequence[Mapping[str, Any]]
"""Lines of a run's metrics.jsonl; epoch 0 stands for the evaluation before training."""

AFTER_LOSSES = ("mAP", "rank1", "hits", "clusters", "outliers", "ari", "lr")
SHARES = frozenset({"mAP", "mINP", "accuracy"})
"""Quantities that metrics.jsonl holds as fractions, in addition to the ranks."""


@dataclass(frozen=True, slots=True)
class Run:
    """The curves of a run, or the mean of several.

    Attributes:
        lines: of metrics.jsonl; of several runs, their means.
        least: the smallest values of several runs, in lines like those.
        most: and the largest.
    """

    lines: Lines
    least: Lines = field(default=())
    most: Lines = field(default=())


@dataclass(frozen=True, slots=True)
class Panel:
    """One quantity of one stage, with the curves that each run has of it.

    Attributes:
        stage: as in metrics.jsonl, but a string.
        key: the quantity.
        curves: for every run, label -> key of its curves.
    """

    stage: str
    key: str
    curves: list[dict[str, str]]

    @property
    def labels(self) -> list[str]:
        """The labels of all runs' curves, which decide the line style."""
        return list(dict.fromkeys(label for curves in self.curves for label in curves))

    @property
    def percent(self) -> bool:
        """Whether metrics.jsonl holds fractions that are shown as percentages."""
        score = self.key.rpartition("/")[2]
        return score in SHARES or score.startswith("rank")


def mean_of_runs(runs: Sequence[Lines]) -> Run:
    """Mean, least and largest values over runs, at the epochs and of the keys that all have."""
    tables = [{(str(line["stage"]), line["epoch"]): line for line in lines} for lines in runs]
    means, least, most = [], [], []
    for place, line in tables[0].items():
        if not all(place in table for table in tables):
            continue
        own = [table[place] for table in tables]
        numbers = {
            key: [other[key] for other in own]
            for key in line
            if key not in ("stage", "epoch") and all(_is_number(other.get(key)) for other in own)
        }
        where = {"stage": line["stage"], "epoch": line["epoch"]}
        means.append(where | {key: sum(x) / len(x) for key, x in numbers.items()})
        least.append(where | {key: min(x) for key, x in numbers.items()})
        most.append(where | {key: max(x) for key, x in numbers.items()})
    return Run(means, least, most)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float)


def default_keys(runs: Mapping[str, Run]) -> list[str]:
    """The usual quantities: losses, accuracy, mAP and Rank-1, hits or clusters, learning rate.

    An epoch's line names its losses and accuracy from "loss" on, up to "lr"; those that are 0 in
    every epoch are left out.
    """
    losses: dict[str, None] = {}
    others: set[str] = set()
    for line in (line for run in runs.values() for line in run.lines):
        keys = list(line)
        if "loss" in line:
            named = keys[keys.index("loss") : keys.index("lr")]
            losses |= dict.fromkeys(key for key in named if line[key] != 0)
        others |= {key for key in AFTER_LOSSES if key in line}
    ordered = sorted(losses, key="accuracy".__eq__)  # the accuracy last
    return [*ordered, *(key for key in AFTER_LOSSES if key in others)]


def arrange_panels(runs: Mapping[str, Run], keys: Sequence[str]) -> list[Panel]:
    """The panels by stage and quantity; those without a value are left out."""
    stages = sorted({str(line["stage"]) for run in runs.values() for line in run.lines})
    panels = [
        Panel(stage, key, [_curves_of(run.lines, stage, key) for run in runs.values()])
        for stage in stages
        for key in keys
    ]
    return [panel for panel in panels if panel.labels]


def _curves_of(lines: Lines, stage: str, key: str) -> dict[str, str]:
    """Label -> key of a run's curves of a quantity: one per target, or with random batches."""
    known = dict.fromkeys(other for x in lines if str(x["stage"]) == stage for other in x)
    targets = [other for other in known if other.endswith(f"/{key}")]
    if targets:
        return {name.rpartition("/")[0]: name for name in targets}
    if key not in known:
        return {}
    if key == "hits":
        random = {"random batches": "random_hits"} if "random_hits" in known else {}
        return {"this sampler": "hits", **random}
    return {"single target" if key in ("mAP", "mINP") or key.startswith("rank") else "": key}


def points_of(lines: Lines, stage: str, key: str, scale: float) -> list[tuple[int, float]]:
    """(epoch, value) of a curve; a value that was not finite is a gap."""
    return [
        (line["epoch"], math.nan if line[key] is None else scale * line[key])
        for line in lines
        if str(line["stage"]) == stage and key in line
    ]

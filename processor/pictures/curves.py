"""Training curves of one or several runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from processor.pictures.style import HUES, INK, new_figure, tidy_axes

Lines = Sequence[Mapping[str, Any]]
"""Lines of a run's metrics.jsonl; epoch 0 stands for the evaluation before training."""

WIDTH, HEIGHT = 3.0, 2.3  # of one quantity's axes, in inches
PER_ROW = 5
STROKE, WIDER = 1.5, 3.0  # width of a curve, and how much wider it is per equal curve above it
DASHES = ("-", "--", ":", "-.")  # of the curves that one run has in the same axes
MARKERS = "osv^"
STAGE_TITLES = {
    "0": "Stage 0: image encoder, before the prompts",
    "1": "Stage 1: prompts",
    "2": "Stage 2: image encoder",
    "dsgl": "DSGL: training without labels",
}
AFTER_LOSSES = ("mAP", "rank1", "hits", "clusters", "outliers", "ari", "lr")
LABELS = {
    "loss": "total loss",
    "id": "identity loss",
    "triplet": "triplet loss",
    "center": "center loss",
    "i2t": "image-to-text loss",
    "t2i": "text-to-image loss",
    "memory": "cluster memory loss",
    "disentangled": "disentangled loss",
    "relative_entropy": "relative entropy loss",
    "accuracy": "training accuracy [%]",
    "mAP": "mAP [%]",
    "rank1": "Rank-1 [%]",
    "hits": "hits: nearest identities in the batch",
    "clusters": "clusters",
    "outliers": "outliers: images in no cluster",
    "ari": "ARI: clusters against identities",
    "lr": "learning rate",
}
SHARES = frozenset({"mAP", "mINP", "accuracy"})
"""Quantities that metrics.jsonl holds as fractions, beside the ranks."""


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
class _Panel:
    """One quantity of one stage: its key, and label -> key of the curves of a run."""

    stage: str
    key: str
    curves: dict[str, str]


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

    An epoch's line names its losses and accuracy from "loss" on, up to "lr".
    """
    losses: dict[str, None] = {}
    others: set[str] = set()
    for line in (line for run in runs.values() for line in run.lines):
        keys = list(line)
        if "loss" in line:
            losses |= dict.fromkeys(keys[keys.index("loss") : keys.index("lr")])
        others |= {key for key in AFTER_LOSSES if key in line}
    ordered = sorted(losses, key="accuracy".__eq__)  # the accuracy last
    return [*ordered, *(key for key in AFTER_LOSSES if key in others)]


def draw_curves(runs: Mapping[str, Run], keys: Sequence[str]) -> Figure:
    """Draw small axes for every quantity, stage by stage; a colour per run.

    mAP and ranks have a curve per target, hits a dashed one for random batches.

    Args:
        runs: name -> curves.
        keys: the quantities, keys of metrics.jsonl, in the order to draw them.

    Raises:
        ValueError: no line has any of the keys, or there are more runs than colours.
    """
    if len(runs) > len(HUES):
        raise ValueError(f"{len(runs)} runs: at most {len(HUES)} can be told apart by colour")
    panels = _arrange(runs, keys)
    if not panels:
        raise ValueError(f"no epoch's line has {' or '.join(keys)}")
    stages = list(dict.fromkeys(panel.stage for panel in panels))
    by_stage = {stage: [x for x in panels if x.stage == stage] for stage in stages}
    heights = [math.ceil(len(own) / PER_ROW) for own in by_stage.values()]
    columns = min(PER_ROW, max(map(len, by_stage.values())))
    figure = new_figure(WIDTH * columns + 0.4, HEIGHT * sum(heights) + 0.4 * len(stages) + 0.6)
    parts = figure.subfigures(len(stages), 1, squeeze=False, height_ratios=heights)[:, 0]
    for part, height, (stage, own) in zip(parts, heights, by_stage.items(), strict=True):
        part.suptitle(STAGE_TITLES.get(stage, f"Stage {stage}"), x=0.01, ha="left", weight="bold")
        grid = part.subplots(height, columns, squeeze=False, sharex=True).flatten()
        for axes in grid[len(own) :]:
            axes.set_axis_off()
        for axes, panel in zip(grid, own, strict=False):
            _draw_panel(axes, panel, runs)
    handles = [Line2D([], [], color=hue, label=name) for name, hue in zip(runs, HUES, strict=False)]
    if len(runs) > 1:
        figure.legend(handles=handles, loc="outside upper right", ncols=4, frameon=False)
    else:
        figure.suptitle(f"Training curves: {next(iter(runs))}", x=0.01, ha="left")
    return figure


def _arrange(runs: Mapping[str, Run], keys: Sequence[str]) -> list[_Panel]:
    """The panels by stage and quantity; those without a value are left out."""
    lines = [line for run in runs.values() for line in run.lines]
    panels = []
    for stage in sorted({str(line["stage"]) for line in lines}):
        known = dict.fromkeys(key for x in lines if str(x["stage"]) == stage for key in x)
        for key in keys:
            targets = [other for other in known if other.endswith(f"/{key}")]
            if targets:
                curves = {name.rpartition("/")[0]: name for name in targets}
            elif key == "hits" and "random_hits" in known:
                curves = {"this sampler": "hits", "random batches": "random_hits"}
            else:
                curves = {"": key} if key in known else {}
            if curves:
                panels.append(_Panel(stage, key, curves))
    return panels


def _draw_panel(axes: Axes, panel: _Panel, runs: Mapping[str, Run]) -> None:
    """The curves of one quantity in one stage."""
    tidy_axes(axes)
    score = panel.key.rpartition("/")[2]
    percent = score in SHARES or score.startswith("rank")
    scale = 100 if percent else 1
    drawn = [
        [_points(lines, panel.stage, key, scale) for lines in (run.lines, run.least, run.most)]
        for run in runs.values()
        for key in panel.curves.values()
    ]
    for place, (points, least, most) in enumerate(drawn):
        run, curve = divmod(place, len(panel.curves))
        hue = HUES[run if len(runs) > 1 else curve]
        hidden = sum(points == other for other, *_ in drawn[place + 1 :])  # by equal ones above it
        axes.plot(
            *zip(*points, strict=True) if points else ([], []),
            color=hue,
            linestyle=DASHES[curve % len(DASHES)],
            linewidth=STROKE + WIDER * hidden,
            marker=MARKERS[curve % len(MARKERS)] if panel.key in ("mAP", "rank1") else ".",
            markersize=4 + WIDER * hidden,
        )
        if least:
            epochs, low = zip(*least, strict=True)
            axes.fill_between(epochs, low, [y for _, y in most], color=hue, alpha=0.2, linewidth=0)
    values = [y for points, *_ in drawn for _, y in points]
    if panel.key == "lr" and min(values) > 0:
        axes.set_yscale("log")
    if percent or panel.key == "hits":
        axes.set_ylim(bottom=0)
    before = any(epoch == 0 for points, *_ in drawn for epoch, _ in points)
    title = LABELS.get(panel.key, f"{panel.key} [%]" if percent else panel.key)
    axes.set_title(title + ", epoch 0 = before training" * before, fontsize="medium")
    _label(axes, panel, one_run=len(runs) == 1)


def _points(lines: Lines, stage: str, key: str, scale: float) -> list[tuple[int, float]]:
    """(epoch, value) of a curve; a value that was not finite is a gap."""
    return [
        (line["epoch"], math.nan if line[key] is None else scale * line[key])
        for line in lines
        if str(line["stage"]) == stage and key in line
    ]


def _label(axes: Axes, panel: _Panel, *, one_run: bool) -> None:
    """Ticks, and a legend where a run has several curves."""
    axes.set_xlabel("epoch", fontsize="small")
    axes.tick_params(labelsize="small", which="both")
    axes.tick_params(axis="x", labelbottom=True)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    if len(panel.curves) > 1:
        handles = [
            Line2D([], [], color=HUES[i] if one_run else INK, linestyle=DASHES[i % 4], label=name)
            for i, name in enumerate(panel.curves)
        ]
        axes.legend(handles=handles, fontsize="small", frameon=False)

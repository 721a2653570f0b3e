"""Training curves of one or several runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from processor.pictures.style import HUES, new_figure, tidy_axes

Lines = Sequence[Mapping[str, Any]]
"""Lines of a run's metrics.jsonl."""

Panels = dict[str, dict[str, dict[str, Lines]]]
"""Stage -> quantity -> run -> the lines that have it."""

WIDTH, HEIGHT = 2.7, 2.1  # of one quantity's axes, in inches
PER_ROW = 5
STAGE_TITLES = {
    "0": "stage 0: images without text",
    "1": "stage 1: prompts",
    "2": "stage 2: images",
    "dsgl": "DSGL: without labels",
}
AFTER_LOSSES = ("mAP", "rank1", "hits", "clusters", "outliers", "ari", "lr")
LABELS = {
    "loss": "loss, all together",
    "rank1": "Rank-1 [%]",
    "hits": "hits: nearest in batch",
    "outliers": "outliers: in no cluster",
    "ari": "ARI: clusters, identities",
    "lr": "learning rate",
}
SHARES = frozenset({"mAP", "mINP", "accuracy"})
"""Quantities that metrics.jsonl has as fractions, beside mAP and ranks of single targets."""


def default_keys(runs: Mapping[str, Lines]) -> list[str]:
    """What is worth drawing: losses and accuracy, mAP and Rank-1, hits or clusters, the rate.

    An epoch's line names its losses and averages from "loss" on, up to "lr".
    """
    losses: dict[str, None] = {}
    others: set[str] = set()
    for line in (line for lines in runs.values() for line in lines):
        keys = list(line)
        losses |= dict.fromkeys(keys[keys.index("loss") : keys.index("lr")])
        others |= {key for key in AFTER_LOSSES if key in line}
    ordered = sorted(losses, key="accuracy".__eq__)  # the accuracy last
    return [*ordered, *(key for key in AFTER_LOSSES if key in others)]


def draw_curves(runs: Mapping[str, Lines], keys: Sequence[str]) -> Figure:
    """Small axes for every quantity, stage by stage; a colour per run.

    Args:
        runs: name -> lines of metrics.jsonl.
        keys: the quantities, keys of those lines, in the order to draw them.

    Raises:
        ValueError: no line has any of the keys, or there are more runs than colours.
    """
    if len(runs) > len(HUES):
        raise ValueError(f"{len(runs)} runs: at most {len(HUES)} can be told apart by colour")
    panels = _arrange(runs, keys)
    if not panels:
        raise ValueError(f"no epoch's line has {' or '.join(keys)}")
    heights = [math.ceil(len(of_stage) / PER_ROW) for of_stage in panels.values()]
    columns = min(PER_ROW, max(map(len, panels.values())))
    figure = new_figure(WIDTH * columns + 0.4, HEIGHT * sum(heights) + 0.4 * len(panels) + 0.5)
    parts = figure.subfigures(len(panels), 1, squeeze=False, height_ratios=heights)[:, 0]
    for part, height, (stage, of_stage) in zip(parts, heights, panels.items(), strict=True):
        part.suptitle(STAGE_TITLES.get(stage, f"stage {stage}"), x=0.01, ha="left", weight="bold")
        grid = part.subplots(height, columns, squeeze=False, sharex=True).flatten()
        for axes in grid[len(of_stage) :]:
            axes.set_axis_off()
        for axes, (key, lines) in zip(grid, of_stage.items(), strict=False):
            _draw_quantity(axes, key, lines)
    handles = [Line2D([], [], color=hue, label=name) for name, hue in zip(runs, HUES, strict=False)]
    figure.legend(handles=handles, loc="outside upper right", ncols=4, frameon=False)
    return figure


def _arrange(runs: Mapping[str, Lines], keys: Sequence[str]) -> Panels:
    """Lines by stage, quantity and run; stages and quantities without any are left out."""
    stages = sorted({str(line["stage"]) for lines in runs.values() for line in lines})
    panels: Panels = {}
    for stage in stages:
        for key in keys:
            lines_of: dict[str, Lines] = {
                name: [line for line in lines if str(line["stage"]) == stage and key in line]
                for name, lines in runs.items()
            }
            if any(lines_of.values()):
                panels.setdefault(stage, {})[key] = lines_of
    return panels


def _draw_quantity(axes: Axes, key: str, runs: Mapping[str, Lines]) -> None:
    """The curves of one quantity in one stage."""
    tidy_axes(axes)
    score = key.rpartition("/")[2]
    percent = score in SHARES or score.startswith("rank")
    smallest = math.inf
    for lines, hue in zip(runs.values(), HUES, strict=False):
        epochs = [line["epoch"] for line in lines]
        # None stands for a value that was not finite: a gap in the curve.
        values = [math.nan if line[key] is None else line[key] for line in lines]
        smallest = min([smallest, *values])
        scaled = [100 * value for value in values] if percent else values
        axes.plot(epochs, scaled, color=hue, marker=".", markersize=4, linewidth=1.4)
    if key == "lr" and smallest > 0:
        axes.set_yscale("log")
    axes.set_title(LABELS.get(key, f"{key} [%]" if percent else key), fontsize="medium")
    axes.set_xlabel("epoch", fontsize="small")
    axes.tick_params(labelsize="small", which="both")
    axes.tick_params(axis="x", labelbottom=True)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))

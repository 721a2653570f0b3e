"""Training curves of one or several runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullLocator

from processor.pictures.curve_panels import Lines, Panel, Run, arrange_panels, points_of
from processor.pictures.figure import PIXELS_PER_INCH, tidy_axes
from processor.pictures.style import HUES, INK

# Lengths in inches: the cell of one quantity, what is around its axes, lines above.
WIDTH, HEIGHT = 3.0, 2.3
LABELS_LEFT, LABELS_BELOW, TITLE, MARGIN = 0.55, 0.5, 0.3, 0.1
HEADING, STAGE_HEADING = 0.35, 0.35
PER_ROW = 5
MOST_TICKS = 5  # of an axis
STROKE, WIDER = 1.5, 3.0  # width of a curve, and how much wider it is per equal curve above it
Dash = Literal["-", "--", ":", "-."]
DASHES: tuple[Dash, ...] = ("-", "--", ":", "-.")  # of the curves that a run has in one panel
MARKERS = "osv^"
STAGE_TITLES = {
    "0": "Stage 0: image encoder, before the prompts",
    "1": "Stage 1: prompts",
    "2": "Stage 2: image encoder",
    "dsgl": "DSGL: training without labels",
}
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
    panels = arrange_panels(runs, keys)
    if not panels:
        raise ValueError(f"no epoch's line has {' or '.join(keys)}")
    by_stage: dict[str, list[Panel]] = {}
    for panel in panels:
        by_stage.setdefault(panel.stage, []).append(panel)
    rows = sum(math.ceil(len(own) / PER_ROW) for own in by_stage.values())
    columns = min(PER_ROW, max(map(len, by_stage.values())))
    sheet = _Sheet(columns * WIDTH, HEADING + len(by_stage) * STAGE_HEADING + rows * HEIGHT)
    top = sheet.height - HEADING
    for stage, own in by_stage.items():
        title = STAGE_TITLES.get(stage, f"Stage {stage}")
        sheet.write(title, top, weight="bold")
        top -= STAGE_HEADING
        first: Axes | None = None
        for place, panel in enumerate(own):
            row, column = divmod(place, PER_ROW)
            axes = sheet.add_axes(column * WIDTH, top - row * HEIGHT, first)
            axes.set_label(title)
            first = first or axes
            _draw_panel(axes, panel, runs)
        top -= math.ceil(len(own) / PER_ROW) * HEIGHT
    handles = [Line2D([], [], color=hue, label=name) for name, hue in zip(runs, HUES, strict=False)]
    if len(runs) > 1:
        sheet.figure.legend(handles=handles, loc="upper right", ncols=4, frameon=False)
    else:
        sheet.write(f"Training curves: {next(iter(runs))}", sheet.height, size="large")
    return sheet.figure


class _Sheet:
    """A figure whose axes lie in a grid of fixed cells: matplotlib need not find room for them.

    Args:
        width: in inches, as all lengths here.
        height: places are counted from the bottom.
    """

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self.figure = Figure(figsize=(width, height), dpi=PIXELS_PER_INCH)

    def write(self, text: str, top: float, **style: Any) -> None:
        """A line at the left edge, below `top`."""
        x, y = MARGIN / self.width, (top - MARGIN) / self.height
        self.figure.text(x, y, text, va="top", **style)

    def add_axes(self, left: float, top: float, first: Axes | None) -> Axes:
        """Axes in the cell at this corner; all share the epochs of the first ones."""
        x, y = left + LABELS_LEFT, top - HEIGHT + LABELS_BELOW
        width, height = WIDTH - LABELS_LEFT - MARGIN, HEIGHT - LABELS_BELOW - TITLE
        box = (x / self.width, y / self.height, width / self.width, height / self.height)
        return self.figure.add_axes(box, sharex=first)


def _draw_panel(axes: Axes, panel: Panel, runs: Mapping[str, Run]) -> None:
    """The curves of one quantity in one stage; where curves are equal, the lower ones are wider."""
    tidy_axes(axes)
    scale = 100 if panel.percent else 1
    drawn = [
        (number, style, [points_of(x, panel.stage, curves[label], scale) for x in _parts(run)])
        for number, (run, curves) in enumerate(zip(runs.values(), panel.curves, strict=True))
        for style, label in enumerate(panel.labels)
        if label in curves
    ]
    several_targets = "" not in panel.labels and panel.key != "hits"
    for place, (number, style, (points, *band)) in enumerate(drawn):
        hue = HUES[number if len(runs) > 1 else style % len(HUES)]
        hidden = sum(points == other[0] for *_, other in drawn[place + 1 :])
        axes.plot(
            *zip(*points, strict=True),
            color=hue,
            linestyle=DASHES[style % len(DASHES)],
            linewidth=STROKE + WIDER * hidden,
            marker=MARKERS[style % len(MARKERS)] if several_targets else ".",
            markersize=4 + WIDER * hidden,
        )
        if band:
            epochs, low = zip(*band[0], strict=True)
            axes.fill_between(
                epochs, low, [y for _, y in band[1]], color=hue, alpha=0.2, linewidth=0
            )
    points = [point for *_, parts in drawn for point in parts[0]]
    if panel.key == "lr" and min(value for _, value in points) > 0:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:.0e}")
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        axes.yaxis.set_major_locator(MaxNLocator(nbins=MOST_TICKS))
    if panel.percent or panel.key == "hits":
        axes.set_ylim(bottom=0)
    title = LABELS.get(panel.key, f"{panel.key} [%]" if panel.percent else panel.key)
    before = any(epoch == 0 for epoch, _ in points)
    axes.set_title(title + ", epoch 0 = before training" * before, fontsize="medium")
    _label(axes, panel, one_run=len(runs) == 1)


def _parts(run: Run) -> list[Lines]:
    """The lines of a run, followed by those of its band if it is a mean."""
    return [run.lines, run.least, run.most] if run.least else [run.lines]


def _label(axes: Axes, panel: Panel, *, one_run: bool) -> None:
    """Ticks, and a legend where a run has several curves."""
    axes.set_xlabel("epoch", fontsize="small")
    axes.tick_params(labelsize="small", which="both")
    axes.tick_params(axis="x", labelbottom=True)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=MOST_TICKS))
    if len(panel.labels) > 1:
        handles = [
            Line2D(
                *([], []),
                color=HUES[style % len(HUES)] if one_run else INK,
                linestyle=DASHES[style % len(DASHES)],
                label=label,
            )
            for style, label in enumerate(panel.labels)
        ]
        axes.legend(handles=handles, fontsize="small", frameon=False)

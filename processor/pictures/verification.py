"""How well distances tell identities apart: histograms, and error rates of thresholds."""

from __future__ import annotations

from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from processor.metrics.verification import FEWEST_ERRORS, OperatingPoint, Verification
from processor.pictures.style import (
    BLUE,
    BLUISH_GREEN,
    FAINT_INK,
    INK,
    ORANGE,
    VERMILION,
    new_figure,
    tidy_axes,
)
from processor.results.threshold import Recommendation, to_euclidean

WIDTH, HEIGHT = 11.0, 4.4  # inches
NUM_BINS = 80
MARKERS = "os^v"  # of false accept rates
SMALLEST_FAR = 1e-6  # where the axis begins at the latest


def draw_verification(
    found: Verification, recommended: Recommendation | None, title: str
) -> Figure:
    """Distances of genuine and impostor pairs beside the curve of both rates.

    Args:
        found: on squared distances.
        recommended: by its Euclidean distance; None if no threshold is usable.
        title: above both.
    """
    figure = new_figure(WIDTH, HEIGHT)
    figure.suptitle(title, x=0.01, ha="left", weight="bold")
    left, right = figure.subplots(1, 2)
    point = recommended.point if recommended else None
    _draw_distances(left, found, point)
    _draw_rates(right, found, point)
    return figure


def _draw_distances(axes: Axes, found: Verification, recommended: OperatingPoint | None) -> None:
    """Histograms over the Euclidean distance, each of area 1, and the threshold between them."""
    counts = found.counts
    occupied = (counts.genuine + counts.impostor).nonzero()[0]
    distances = np.sqrt(counts.limits[occupied].astype(np.float64))
    bins = np.linspace(0, distances[-1], NUM_BINS + 1)
    kinds = (
        ("same identity", counts.genuine[occupied], BLUISH_GREEN, "-"),
        ("two identities", counts.impostor[occupied], VERMILION, "--"),
    )
    for name, weights, colour, line in kinds:
        label = f"{name}, {weights.sum():,} pairs"
        heights, _ = np.histogram(distances, bins, weights=weights, density=True)
        axes.stairs(heights, bins, fill=True, color=colour, alpha=0.25)
        axes.stairs(heights, bins, color=colour, linestyle=line, linewidth=1.6, label=label)
    if recommended:
        label = f"recommended threshold {recommended.threshold:.4f}"
        axes.axvline(recommended.threshold, color=INK, linewidth=1.4, label=label)
    tidy_axes(axes)
    axes.set_ylim(0, 1.3 * axes.get_ylim()[1])  # room for the legend
    axes.set_xlabel("Euclidean distance of L2-normalized features")
    axes.set_ylabel("density of pairs")
    axes.legend(frameon=False, loc="upper right")


def _draw_rates(axes: Axes, found: Verification, recommended: OperatingPoint | None) -> None:
    """True accept rate over false accept rate, which is logarithmic."""
    far, tar = found.counts.far, found.counts.tar
    axes.plot(far[far > 0], tar[far > 0], color=BLUE, linewidth=1.8, drawstyle="steps-post")
    for (rate, point), marker in zip(found.at_far.items(), cycle(MARKERS), strict=False):
        label = f"TAR {point.tar:.1%} at FAR {rate:g}"
        axes.plot(rate, point.tar, marker, color=BLUE, markersize=7, label=label)
    equal = to_euclidean(found.equal_error)
    axes.plot(
        equal.far, equal.tar, "D", color=ORANGE, markersize=7, label=f"equal error {found.eer:.1%}"
    )
    if recommended:
        axes.plot(
            *(recommended.far, recommended.tar, "o"),
            color=INK,
            markersize=13,
            fillstyle="none",
            label="recommended threshold",
        )
    start = min(max(1 / found.num_impostor, SMALLEST_FAR), min(found.at_far) / 2)
    uncertain = min(FEWEST_ERRORS / found.num_impostor, 1)
    if uncertain > start:
        label = f"fewer than {FEWEST_ERRORS} false accepts"
        axes.axvspan(start, uncertain, color=FAINT_INK, alpha=0.15, linewidth=0, label=label)
    axes.set_xscale("log")
    axes.set_xlim(start, 1)
    axes.set_ylim(0, 1.02)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    tidy_axes(axes)
    axes.set_xlabel("false accept rate (FAR)")
    axes.set_ylabel("true accept rate (TAR)")
    axes.legend(frameon=False, loc="best")

"""Distances of genuine and impostor pairs, and the error rates of thresholds."""

from __future__ import annotations

from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from processor.metrics.open_set import OpenSet
from processor.metrics.verification import FEWEST_ERRORS, OperatingPoint, Verification
from processor.pictures.figure import new_figure, tidy_axes
from processor.pictures.style import (
    BLUE,
    BLUISH_GREEN,
    FAINT_INK,
    INK,
    ORANGE,
    REDDISH_PURPLE,
    VERMILION,
)
from processor.results.threshold import Recommendation, explain_no_threshold, to_euclidean

WIDTH, HEIGHT = 11.5, 5.0  # inches
NUM_BINS = 80
MARKERS = "s^v"  # of false accept rates
SMALLEST_FAR = 1e-6  # lowest start of the axis


def draw_verification(
    found: Verification,
    recommended: Recommendation | None,
    title: str,
    open_set: OpenSet | None = None,
) -> Figure:
    """Draw the distances of both kinds of pairs next to the curve of both rates.

    Args:
        found: on squared distances.
        recommended: by its Euclidean distance; None if no threshold is usable.
        title: above both.
        open_set: identification rates, drawn over the false accept rates that could be measured.
    """
    figure = new_figure(WIDTH, HEIGHT)
    point = recommended.point if recommended else None
    reason = f"No threshold recommended: {explain_no_threshold(found)}."
    figure.suptitle(f"{title}\n{describe_point(point) if point else reason}", x=0.01, ha="left")
    left, right = figure.subplots(1, 2)
    _draw_distances(left, found, point)
    if open_set is not None:
        _draw_open_set(right, open_set)
    _draw_rates(right, found, point)
    return figure


def describe_point(point: OperatingPoint) -> str:
    """The pairs that a threshold accepts, as a sentence."""
    return (
        f"Threshold {point.threshold:.4f} accepts {point.tar:.1%} of the same-identity pairs at "
        f"{100 * point.far:.2g}% false accepts."
    )


def _draw_distances(axes: Axes, found: Verification, recommended: OperatingPoint | None) -> None:
    """Histograms over the Euclidean distance, each of area 1; accepted pairs are shaded."""
    counts = found.counts
    occupied = (counts.genuine + counts.impostor).nonzero()[0]
    distances = np.sqrt(counts.limits[occupied].astype(np.float64))
    bins = np.linspace(0, distances[-1], NUM_BINS + 1)
    kinds = (
        ("same identity", counts.genuine[occupied], BLUISH_GREEN, "-"),
        ("different identities", counts.impostor[occupied], VERMILION, "--"),
    )
    for name, weights, colour, line in kinds:
        label = f"{name}: {weights.sum():,} pairs"
        heights, _ = np.histogram(distances, bins, weights=weights, density=True)
        axes.stairs(heights, bins, fill=True, color=colour, alpha=0.25)
        axes.stairs(heights, bins, color=colour, linestyle=line, linewidth=1.6, label=label)
    if recommended:
        threshold = recommended.threshold
        label = f"recommended threshold {threshold:.4f}"
        axes.axvline(threshold, color=INK, linewidth=1.4, label=label)
        if threshold > 0:
            axes.axvspan(
                0, threshold, color=FAINT_INK, alpha=0.15, linewidth=0, label="accepted pairs"
            )
    tidy_axes(axes)
    axes.set_xlim(0, distances[-1])
    axes.set_ylim(0, 1.35 * axes.get_ylim()[1])  # room for the legend
    axes.set_title("Pairs by distance", fontsize="medium")
    axes.set_xlabel("Euclidean distance of L2-normalized features")
    axes.set_ylabel("density of pairs")
    axes.legend(frameon=False, loc="upper right")


def _draw_open_set(axes: Axes, found: OpenSet) -> None:
    """Identification rates at false accept rates, with their deviation over the draws."""
    points = {rate: point for rate, point in found.at_far.items() if found.measures(rate)}
    if points:
        axes.errorbar(
            list(points),
            [point.identification_rate for point in points.values()],
            [point.deviation for point in points.values()],
            fmt="P",
            color=REDDISH_PURPLE,
            capsize=3,
            markersize=7,
            label="open set: queries identified",
        )


def _draw_rates(axes: Axes, found: Verification, recommended: OperatingPoint | None) -> None:
    """True accept rate over false accept rate, which is logarithmic."""
    far, tar = found.counts.far, found.counts.tar
    axes.plot(far[far > 0], tar[far > 0], color=BLUE, linewidth=1.8, drawstyle="steps-post")
    for (rate, point), marker in zip(found.at_far.items(), cycle(MARKERS), strict=False):
        label = f"accepts {point.tar:.1%} at {100 * rate:g}% false accepts"
        axes.plot(rate, point.tar, marker, color=BLUE, markersize=7, label=label)
    equal = to_euclidean(found.equal_error)
    axes.plot(
        *(equal.far, equal.tar, "D"),
        color=ORANGE,
        markersize=7,
        label=f"equal error rate {found.eer:.1%}",
    )
    if recommended:
        axes.plot(
            *(recommended.far, recommended.tar, "o"),
            color=INK,
            markersize=14,
            fillstyle="none",
            label="recommended threshold",
        )
    start = min(max(1 / found.num_impostor, SMALLEST_FAR), min(found.at_far) / 2)
    uncertain = min(FEWEST_ERRORS / found.num_impostor, 1)
    if uncertain > start:
        label = f"fewer than {FEWEST_ERRORS} false accepts: unreliable"
        axes.axvspan(start, uncertain, color=FAINT_INK, alpha=0.15, linewidth=0, label=label)
    axes.set_xscale("log")
    axes.set_xlim(start, 1)
    axes.set_ylim(0, 1.02)
    axes.xaxis.set_major_formatter(lambda rate, _: f"{100 * rate:g}%")
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    tidy_axes(axes)
    axes.set_title("Rates of all thresholds", fontsize="medium")
    axes.set_xlabel("false accepts: different-identity pairs that are accepted")
    axes.set_ylabel("same-identity pairs that are accepted")
    axes.legend(loc="best", framealpha=0.9, edgecolor="none")

"""What all plots share: figures without global state, plain axes, files."""

from __future__ import annotations

import argparse
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from processor.pictures.palette import FAINT_INK

PLOT_SUFFIXES = (".png", ".svg", ".pdf")
SHEET_SUFFIXES = (".png", ".jpg", ".webp")
PIXELS_PER_INCH = 120


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of a size in inches; the parts that are put on it make room by themselves."""
    return Figure(figsize=(width, height), dpi=PIXELS_PER_INCH, layout="constrained")


def tidy_axes(axes: Axes) -> None:
    """Faint lines behind the data instead of a box around it."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, color=FAINT_INK, alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as its file's suffix says; folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def plot_file(text: str) -> Path:
    """The path of a plot on a command line, refused before the work when its kind is unknown."""
    return _checked_path(text, PLOT_SUFFIXES)


def sheet_file(text: str) -> Path:
    """The path of a sheet of pictures on a command line, likewise."""
    return _checked_path(text, SHEET_SUFFIXES)


def _checked_path(text: str, suffixes: tuple[str, ...]) -> Path:
    path = Path(text)
    if path.suffix.lower() not in suffixes:
        raise argparse.ArgumentTypeError(f"{text!r} should end in one of {', '.join(suffixes)}")
    return path

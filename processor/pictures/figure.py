"""Figures of matplotlib: a new one, its axes, its file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.text import Text

from config.text import printable
from processor.pictures.style import FAINT_INK
from processor.runtime.files import atomic_file

PIXELS_PER_INCH = 140


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, sized in inches; its layout makes room for everything added."""
    return Figure(figsize=(width, height), dpi=PIXELS_PER_INCH, layout="constrained")


def tidy_axes(axes: Axes) -> None:
    """Replace the box around the data by faint lines behind it."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, color=FAINT_INK, alpha=0.25, linewidth=0.6)
    axes.set_axisbelow(True)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure in the format that the path's suffix names; missing folders are made.

    Names in its texts are shown as they are: `$` begins no formula.
    """
    for text in _texts(figure):
        text.set_text(printable(text.get_text(), keep_lines=True))
        text.set_parse_math(False)
    _lay_out(figure)
    with atomic_file(path) as partial:
        figure.savefig(partial)


def _texts(artist: Artist) -> Iterator[Text]:
    """All texts but the numbers at the axes, which matplotlib makes when it draws."""
    if isinstance(artist, Text):
        yield artist
    children = [artist.label] if isinstance(artist, Axis) else artist.get_children()
    for child in children:
        yield from _texts(child)


def _lay_out(figure: Figure) -> None:
    """Make room for all texts, once: `savefig` would draw everything a second time for that."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
        figure.set_layout_engine("none")

"""Figures of matplotlib: a new one, its axes, its file."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from config.text import printable
from processor.pictures.style import FAINT_INK
from processor.runtime.files import atomic_file

PIXELS_PER_INCH = 140
TICK = "$\\mathdefault{"  # how matplotlib begins the number at a logarithmic axis


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
    for text in figure.findobj(Text):
        content = text.get_text()
        if content and not content.startswith(TICK):
            text.set_text(printable(content, keep_lines=True))
            text.set_parse_math(False)
    _lay_out(figure)
    with atomic_file(path) as partial:
        figure.savefig(partial)


def _lay_out(figure: Figure) -> None:
    """Make room for all texts, once: `savefig` would draw everything a second time for that."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
        figure.set_layout_engine("none")

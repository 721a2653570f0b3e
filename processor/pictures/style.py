"""Colours, marks and words that all figures share; safe for colour-blind readers."""

from __future__ import annotations

from dataclasses import dataclass

# the palette of Okabe and Ito (2008)
BLACK = "#000000"
ORANGE = "#E69F00"
SKY_BLUE = "#56B4E9"
BLUISH_GREEN = "#009E73"
YELLOW = "#F0E442"
BLUE = "#0072B2"
VERMILION = "#D55E00"
REDDISH_PURPLE = "#CC79A7"
GREY = "#767676"

# for the series of a plot, in this order; yellow comes last, as it is faint on white
HUES = (BLUE, ORANGE, BLUISH_GREEN, REDDISH_PURPLE, SKY_BLUE, VERMILION, BLACK, YELLOW)

PAPER, INK, FAINT_INK = "#FFFFFF", "#1E2228", "#5F656D"


@dataclass(frozen=True, slots=True)
class Mark:
    """The meaning of an image's frame, shown by a colour and by a symbol.

    Attributes:
        colour: of the frame.
        strokes: the symbol in the frame's corner, which tells frames apart without colour vision:
            lines through points (x, y) of the unit square, y downwards.
        symbol: the same symbol as a character.
        meaning: the legend's text.
    """

    colour: str
    strokes: tuple[tuple[tuple[float, float], ...], ...]
    symbol: str
    meaning: str


_CHECK = (((0.24, 0.54), (0.43, 0.73), (0.78, 0.30)),)
_CROSS = (((0.28, 0.28), (0.72, 0.72)), ((0.72, 0.28), (0.28, 0.72)))
_DASH = (((0.25, 0.50), (0.75, 0.50)),)

MARKS = {
    "query": Mark(BLUE, (), "", "query"),
    "right": Mark(BLUISH_GREEN, _CHECK, "✓", "same identity"),
    "wrong": Mark(VERMILION, _CROSS, "✗", "different identity"),
    "junk": Mark(GREY, _DASH, "\N{EN DASH}", "junk, not counted: the query's identity and camera"),
}

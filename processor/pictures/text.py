"""Text on images: the font, and lines that fit a width."""

from __future__ import annotations

import re
from functools import lru_cache

from PIL import Image, ImageDraw, ImageFont

from config.text import printable
from processor.pictures.style import INK

LINE = 1.3  # distance between lines, in font sizes
_PIECE = re.compile(r"[^\s_\-./]*[\s_\-./]?")  # a word with the character it may break after


@lru_cache
def load_font(size: int) -> ImageFont.FreeTypeFont:
    """Pillow's own font, which is the same on every machine; `size` in pixels."""
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)  # as a size is given
    return font


def wrap(text: str, size: int, width: float) -> list[str]:
    """Break a text into lines of at most `width` pixels; nothing is left out.

    Lines break after spaces and the separators of file names, and inside a word only where the word
    alone is too wide. A single character that is wider than `width` gets its own line.
    """
    font = load_font(size)
    lines = [""]
    for piece in _PIECE.findall(printable(text)):
        if lines[-1] and font.getlength((lines[-1] + piece).rstrip()) > width:
            lines.append("")
        for character in piece:
            if lines[-1] and font.getlength((lines[-1] + character).rstrip()) > width:
                lines.append("")
            lines[-1] += character
    return [line.rstrip() for line in lines]


def write_lines(
    image: Image.Image, place: tuple[float, float], lines: list[str], size: int, colour: str = INK
) -> None:
    """Write lines below each other, left-aligned at a place (x, y)."""
    pen = ImageDraw.Draw(image)
    for number, line in enumerate(lines):
        y = place[1] + number * LINE * size
        pen.text((place[0], y), line, font=load_font(size), fill=colour)


def lines_height(lines: list[str], size: int) -> int:
    """Pixels that lines of text take."""
    return round(LINE * size * len(lines))

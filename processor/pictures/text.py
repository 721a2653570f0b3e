"""Text on images: the font, and lines that fit a width."""

from __future__ import annotations

import re
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from config.text import printable
from processor.pictures.style import INK, PAPER

LINE = 1.3  # distance between lines, in font sizes
_PIECE = re.compile(r"[^\s_\-./]*[\s_\-./]?")  # a word with the character it may break after


@lru_cache
def _wide_font() -> Path | None:
    """Matplotlib's font, which has most alphabets; None in a light install."""
    spec = find_spec("matplotlib")
    fonts = Path(spec.origin).parent / "mpl-data/fonts/ttf" if spec and spec.origin else Path()
    return fonts / "DejaVuSans.ttf" if (fonts / "DejaVuSans.ttf").is_file() else None


def load_font(size: int, text: str = "") -> ImageFont.FreeTypeFont:
    """Pillow's own font, which is the same on every machine, or one that has the text's letters.

    Args:
        size: in pixels.
        text: to be written.
    """
    return _load_font(size, None if text.isascii() else _wide_font())


@lru_cache
def _load_font(size: int, file: Path | None) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size) if file is None else ImageFont.truetype(file, size)
    assert isinstance(font, ImageFont.FreeTypeFont)  # as a size is given
    return font


def wrap(text: str, size: int, width: float) -> list[str]:
    """Break a text into lines of at most `width` pixels; nothing is left out.

    Lines break after spaces and the separators of file names, and inside a word only where the word
    alone is too wide. A single character that is wider than `width` gets its own line.
    """

    def is_too_wide(line: str) -> bool:
        return load_font(size, line).getlength(line) > width

    lines = [""]
    for piece in _PIECE.findall(printable(text)):
        if lines[-1] and is_too_wide((lines[-1] + piece).rstrip()):
            lines.append("")
        for character in piece:
            if lines[-1] and is_too_wide((lines[-1] + character).rstrip()):
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
        pen.text((place[0], y), line, font=load_font(size, line), fill=colour)


def draw_text(text: str, size: int, width: int, height: int) -> Image.Image:
    """A text on paper that is `width` pixels wide and `height` or as many as it takes high."""
    margin = size // 2
    lines = wrap(text, size, width - 2 * margin)
    taken = lines_height(lines, size) + 2 * margin
    image = Image.new("RGB", (width, max(height, taken)), PAPER)
    write_lines(image, (margin, margin), lines, size)
    return image


def lines_height(lines: list[str], size: int) -> int:
    """Pixels that lines of text take."""
    return round(LINE * size * len(lines))

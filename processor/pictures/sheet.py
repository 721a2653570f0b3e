"""A sheet of pictures in rows, each with a frame that says what it is and a caption below."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, zip_longest
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from datasets.images.decode import read_image
from processor.pictures.style import FAINT_INK, INK, MARKS, PAPER

# all lengths are pixels
MARGIN = 16  # around the sheet
GAP = 10  # between tiles
QUERY_GAP = 28  # to the right of a column of queries
FRAME = 6  # width of a frame
BADGE = 28  # diameter of the disc with a frame's symbol
NARROWEST = 92  # column, so that a caption has room
WIDEST = 2  # picture, in heights; a wider one is scaled down
CAPTION_SIZE, LEGEND_SIZE, TITLE_SIZE = 13, 14, 20
LINE = 1.3  # distance of lines of text, in font sizes
PALE = 0.5  # share of white in a junk picture
SMOOTH = 4  # badges are drawn larger by this and reduced


@dataclass(frozen=True, slots=True)
class Tile:
    """A picture on a sheet.

    Attributes:
        path: the image file.
        caption: lines below it; one that is too long is shortened in the middle.
        frame: "query", "right", "wrong", "junk" (see `palette.MARKS`), or None.
    """

    path: str
    caption: tuple[str, ...] = ()
    frame: str | None = None


@dataclass(frozen=True, slots=True)
class _Column:
    left: int
    width: int


def draw_sheet(
    rows: Sequence[Sequence[Tile]], *, title: str = "", tile_height: int = 192
) -> Image.Image:
    """Draw rows of tiles in aligned columns, with a legend of their frames.

    Args:
        rows: tiles from left to right; rows may differ in length.
        title: text above them; empty = none.
        tile_height: height of the pictures in pixels; they keep their aspect.

    Raises:
        BadImageError: a picture cannot be decoded.
        ValueError: there is no tile.
    """
    if not any(rows):
        raise ValueError("a sheet needs at least one picture")
    pictures = [[read_scaled(tile.path, tile_height) for tile in row] for row in rows]
    columns = _place_columns(rows, pictures)
    frames = {tile.frame for row in rows for tile in row}
    legend = _draw_legend([frame for frame in MARKS if frame in frames])
    header = round(2 * LINE * TITLE_SIZE) if title else 0
    tops = list(
        accumulate((_row_height(row, tile_height) for row in rows), initial=MARGIN + header)
    )
    right = max(columns[-1].left + columns[-1].width, MARGIN + legend.width)
    right = max(right, MARGIN + round(_font(TITLE_SIZE).getlength(title)))
    sheet = Image.new("RGB", (right + MARGIN, tops[-1] + legend.height + MARGIN), PAPER)
    ImageDraw.Draw(sheet).text((MARGIN, MARGIN), title, font=_font(TITLE_SIZE), fill=INK)
    for row, row_pictures, top in zip(rows, pictures, tops, strict=False):
        for tile, picture, column in zip(row, row_pictures, columns, strict=False):
            _draw_tile(sheet, tile, picture, column, top)
    sheet.paste(legend, (MARGIN, tops[-1]))
    return sheet


def shorten(text: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    """The text, its middle replaced by an ellipsis as far as it takes to be `width` pixels wide."""
    if font.getlength(text) <= width:
        return text
    for kept in range(len(text) - 1, 0, -1):
        shorter = f"{text[: (kept + 1) // 2]}…{text[len(text) - kept // 2 :]}"
        if font.getlength(shorter) <= width:
            return shorter
    return "…"


def _font(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)  # Pillow's own, as a size is given
    return font


def read_scaled(path: str, height: int) -> Image.Image:
    """The picture as high as asked for; one that is very wide, as wide as may be."""
    picture = read_image(path)
    scale = min(height / picture.height, WIDEST * height / picture.width)
    size = (max(1, round(scale * picture.width)), max(1, round(scale * picture.height)))
    return picture.resize(size, Image.Resampling.LANCZOS)


def _place_columns(
    rows: Sequence[Sequence[Tile]], pictures: Sequence[Sequence[Image.Image]]
) -> list[_Column]:
    """Columns as wide as their widest picture with its frame."""
    columns: list[_Column] = []
    left = MARGIN
    for tiles, images in zip(zip_longest(*rows), zip_longest(*pictures), strict=True):
        widths = [image.width + 2 * FRAME for image in images if image is not None]
        columns.append(_Column(left, max(NARROWEST, *widths)))
        queries = all(tile is None or tile.frame == "query" for tile in tiles)
        left += columns[-1].width + (QUERY_GAP if queries else GAP)
    return columns


def _row_height(row: Sequence[Tile], tile_height: int) -> int:
    """Height of a row with the gap below it."""
    lines = max((len(tile.caption) for tile in row), default=0)
    return tile_height + 2 * FRAME + round(LINE * CAPTION_SIZE * lines) + 2 * GAP


def _draw_tile(
    sheet: Image.Image, tile: Tile, picture: Image.Image, column: _Column, top: int
) -> None:
    """Draw a picture with its frame in the middle of the column, and the caption below."""
    pen = ImageDraw.Draw(sheet)
    left = column.left + (column.width - picture.width) // 2 - FRAME
    width, height = picture.width + 2 * FRAME, picture.height + 2 * FRAME
    if tile.frame == "junk":
        picture = Image.blend(picture, Image.new("RGB", picture.size, PAPER), PALE)
    if tile.frame:
        box = (left, top, left + width - 1, top + height - 1)
        pen.rectangle(box, fill=MARKS[tile.frame].colour)
    sheet.paste(picture, (left + FRAME, top + FRAME))
    if tile.frame and MARKS[tile.frame].strokes:
        badge = _draw_badge(tile.frame)
        sheet.paste(badge, (left, top), badge)
    font = _font(CAPTION_SIZE)
    for number, line in enumerate(tile.caption):
        text = shorten(line, font, column.width)
        place = (column.left + column.width / 2, top + height + 4 + number * LINE * CAPTION_SIZE)
        pen.text(place, text, font=font, fill=FAINT_INK if number else INK, anchor="ma")


def _draw_badge(frame: str) -> Image.Image:
    """A disc with the symbol of a frame, transparent around it."""
    mark = MARKS[frame]
    size = SMOOTH * BADGE
    badge = Image.new("RGBA", (size, size))
    pen = ImageDraw.Draw(badge)
    pen.ellipse((0, 0, size - 1, size - 1), fill=mark.colour)
    for line in mark.strokes:
        points = [(size * x, size * y) for x, y in line]
        pen.line(points, fill=PAPER, width=size // 8, joint="curve")
    return badge.resize((BADGE, BADGE), Image.Resampling.LANCZOS)


def _draw_legend(frames: Sequence[str]) -> Image.Image:
    """A line that says what the frames mean; without any, a picture of no height."""
    font = _font(LEGEND_SIZE)
    widths = [BADGE + GAP + round(font.getlength(MARKS[frame].meaning)) for frame in frames]
    size = (sum(widths) + QUERY_GAP * len(frames), BADGE if frames else 0)
    legend = Image.new("RGB", size, PAPER)
    left = 0
    for frame, width in zip(frames, widths, strict=True):
        badge = _draw_badge(frame)
        legend.paste(badge, (left, 0), badge)
        place = (left + BADGE + GAP // 2, BADGE / 2)
        text = MARKS[frame].meaning
        ImageDraw.Draw(legend).text(place, text, font=font, fill=INK, anchor="lm")
        left += width + QUERY_GAP
    return legend


def write_sheets(
    stem: Path, rows: Sequence[Sequence[Tile]], title: str, *, rows_per_sheet: int
) -> int:
    """Write `STEM_1.png`, `STEM_2.png`, ...; earlier sheets of that name go.

    Args:
        stem: the files' path without number and ending.
        rows: of pictures.
        title: of every sheet; where there are several, the numbers of its rows follow.
        rows_per_sheet: at most.

    Returns:
        How many sheets there are.
    """
    for old in stem.parent.glob(f"{stem.name}_[0-9]*.png"):
        old.unlink()
    starts = range(0, len(rows), rows_per_sheet)
    for number, start in enumerate(starts, start=1):
        part = rows[start : start + rows_per_sheet]
        which = f" ({start + 1} to {start + len(part)})" if len(starts) > 1 else ""
        sheet = draw_sheet(part, title=title + which)
        sheet.save(stem.with_name(f"{stem.name}_{number}.png"))
    return len(starts)

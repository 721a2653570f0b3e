"""A sheet of images: rows in aligned columns, each image with a frame and a caption below."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from glob import escape
from itertools import accumulate, zip_longest
from pathlib import Path

from PIL import Image, ImageDraw

from datasets.images.decode import read_image
from processor.pictures.style import FAINT_INK, INK, MARKS, PAPER
from processor.pictures.text import LINE, lines_height, load_font, wrap, write_lines
from processor.runtime.files import atomic_file

# all lengths are pixels
MARGIN = 16  # around the sheet
GAP = 10  # between tiles
GROUP_GAP = 28  # between queries, ranks and junk
FRAME = 6  # width of a frame
BADGE = 28  # diameter of the disc with a frame's symbol
NARROWEST = 96  # column, so that a caption has room
WIDEST = 2  # image, in heights; a wider one is scaled down
LEAST_HEADER = 560  # width that a title may use on a sheet that is narrower
CAPTION_SIZE, NOTE_SIZE, TITLE_SIZE = 13, 14, 20
PALE = 0.5  # share of white in a junk image
SMOOTH = 4  # badges are drawn larger by this factor and reduced


@dataclass(frozen=True, slots=True)
class Tile:
    """An image on a sheet.

    Attributes:
        path: the image file.
        caption: lines below it; one that is too long is wrapped.
        frame: "query", "right", "wrong", "junk" (see `style.MARKS`), or None.
        drawn: shown instead of a file.
    """

    path: str
    caption: tuple[str, ...] = ()
    frame: str | None = None
    drawn: Image.Image | None = None


Row = Sequence[Tile | None]
"""Tiles from left to right; None leaves a column empty."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A drawn sheet.

    Attributes:
        image: the sheet.
        middles: y of the middle of every row's images, in pixels.
    """

    image: Image.Image
    middles: list[int]


@dataclass(frozen=True, slots=True)
class _Column:
    left: int
    width: int


def draw_sheet(
    rows: Sequence[Row], *, title: str = "", notes: Sequence[str] = (), tile_height: int = 192
) -> Drawn:
    """Draw rows of tiles in aligned columns, below a title, notes and a legend of the frames.

    The legend is left out where only one kind of frame occurs: then the captions say it.

    Args:
        rows: they may differ in length.
        title: heading; empty = none.
        notes: smaller lines below the title.
        tile_height: height of the images in pixels; they keep their aspect.

    Raises:
        BadImageError: an image cannot be decoded.
        ValueError: no row has a tile.
    """
    if not any(tile for row in rows for tile in row):
        raise ValueError("a sheet needs at least one image")
    images = [[_scaled(tile, tile_height) if tile else None for tile in row] for row in rows]
    columns = _place_columns(rows, images)
    captions = [[_wrap_caption(*pair) for pair in zip(row, columns, strict=False)] for row in rows]
    right = columns[-1].left + columns[-1].width
    header = _draw_header(title, notes, rows, max(right - MARGIN, LEAST_HEADER))
    heights = [_row_height(lines, tile_height) for lines in captions]
    tops = list(accumulate(heights, initial=MARGIN + header.height))
    width = max(right, MARGIN + header.width) + MARGIN
    sheet = Image.new("RGB", (width, tops[-1] - GAP + MARGIN), PAPER)
    sheet.paste(header, (MARGIN, MARGIN))
    for row, row_images, lines, top in zip(rows, images, captions, tops, strict=False):
        for tile, image, caption, column in zip(row, row_images, lines, columns, strict=False):
            if tile and image:
                _draw_tile(sheet, tile.frame, image, column, top)
                _write_caption(sheet, caption, column, top + tile_height + 2 * FRAME)
    return Drawn(sheet, [top + FRAME + tile_height // 2 for top in tops[:-1]])


def read_scaled(path: str, height: int) -> Image.Image:
    """Read an image and scale it to a height, or to the width `WIDEST` allows if it is wide."""
    return _scale(read_image(path), height)


def _scaled(tile: Tile, height: int) -> Image.Image:
    return read_scaled(tile.path, height) if tile.drawn is None else _scale(tile.drawn, height)


def _scale(image: Image.Image, height: int) -> Image.Image:
    scale = min(height / image.height, WIDEST * height / image.width)
    size = (max(1, round(scale * image.width)), max(1, round(scale * image.height)))
    return image.resize(size, Image.Resampling.LANCZOS)


def _place_columns(
    rows: Sequence[Row], images: Sequence[Sequence[Image.Image | None]]
) -> list[_Column]:
    """Columns as wide as their widest image with its frame; gaps set queries and junk apart."""
    columns: list[_Column] = []
    kind, left = "", MARGIN
    for tiles, own in zip(zip_longest(*rows), zip_longest(*images), strict=True):
        frames = {tile.frame for tile in tiles if tile}
        previous, kind = kind, next((x for x in ("query", "junk") if frames == {x}), "rank")
        if columns:
            left += columns[-1].width + (GAP if kind == previous else GROUP_GAP)
        widths = [image.width + 2 * FRAME for image in own if image is not None]
        columns.append(_Column(left, max(NARROWEST, *widths)))
    return columns


def _wrap_caption(tile: Tile | None, column: _Column) -> list[list[str]]:
    """The lines of a tile's caption, each wrapped to the width of its column."""
    return [wrap(text, CAPTION_SIZE, column.width) for text in tile.caption] if tile else []


def _row_height(captions: Sequence[list[list[str]]], tile_height: int) -> int:
    """Height of a row with the gap below it."""
    lines = max((sum(map(len, caption)) for caption in captions), default=0)
    return tile_height + 2 * FRAME + round(LINE * CAPTION_SIZE * lines) + 2 * GAP


def _draw_tile(
    sheet: Image.Image, frame: str | None, image: Image.Image, column: _Column, top: int
) -> None:
    """Draw an image with its frame in the middle of the column."""
    left = column.left + (column.width - image.width) // 2 - FRAME
    width, height = image.width + 2 * FRAME, image.height + 2 * FRAME
    if frame == "junk":
        image = Image.blend(image, Image.new("RGB", image.size, PAPER), PALE)
    if frame:
        box = (left, top, left + width - 1, top + height - 1)
        ImageDraw.Draw(sheet).rectangle(box, fill=MARKS[frame].colour)
    sheet.paste(image, (left + FRAME, top + FRAME))
    if frame and MARKS[frame].strokes:
        badge = _draw_badge(frame)
        sheet.paste(badge, (left, top), badge)


def _write_caption(
    sheet: Image.Image, caption: list[list[str]], column: _Column, below: int
) -> None:
    """Write a caption centred below a tile, its first line darker than the others."""
    pen, middle = ImageDraw.Draw(sheet), column.left + column.width / 2
    lines = [(line, number) for number, part in enumerate(caption) for line in part]
    for place, (line, number) in enumerate(lines):
        spot = (middle, below + 4 + place * LINE * CAPTION_SIZE)
        fill = FAINT_INK if number else INK
        pen.text(spot, line, font=load_font(CAPTION_SIZE, line), fill=fill, anchor="ma")


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


def _draw_header(title: str, notes: Sequence[str], rows: Sequence[Row], width: int) -> Image.Image:
    """Title, notes and legend; an image of height 0 if a sheet has none of them."""
    titles = wrap(title, TITLE_SIZE, width) if title else []
    small = [line for note in notes for line in wrap(note, NOTE_SIZE, width)]
    frames = {tile.frame for row in rows for tile in row if tile}
    legend = _draw_legend([frame for frame in MARKS if frame in frames])
    texts = [(line, TITLE_SIZE) for line in titles] + [(line, NOTE_SIZE) for line in small]
    widths = [round(load_font(size, line).getlength(line)) for line, size in texts]
    top = lines_height(titles, TITLE_SIZE)
    middle = top + lines_height(small, NOTE_SIZE)
    bottom = middle + (GAP + legend.height if legend.height else 0)
    height = bottom + 2 * GAP if bottom else 0
    header = Image.new("RGB", (max([legend.width, *widths]), height), PAPER)
    write_lines(header, (0, 0), titles, TITLE_SIZE)
    write_lines(header, (0, top), small, NOTE_SIZE, FAINT_INK)
    header.paste(legend, (0, bottom - legend.height))
    return header


def _draw_legend(frames: Sequence[str]) -> Image.Image:
    """The meanings of the frames in one line; an empty image for fewer than two kinds."""
    if len(frames) < 2:
        return Image.new("RGB", (0, 0))
    font = load_font(NOTE_SIZE)
    widths = [BADGE + GAP + round(font.getlength(MARKS[frame].meaning)) for frame in frames]
    legend = Image.new("RGB", (sum(widths) + GROUP_GAP * len(frames), BADGE), PAPER)
    left = 0
    for frame, width in zip(frames, widths, strict=True):
        badge = _draw_badge(frame)
        legend.paste(badge, (left, 0), badge)
        place = (left + BADGE + GAP // 2, BADGE / 2)
        text = MARKS[frame].meaning
        ImageDraw.Draw(legend).text(place, text, font=font, fill=INK, anchor="lm")
        left += width + GROUP_GAP
    return legend


def write_sheets(
    stem: Path,
    rows: Sequence[Row],
    title: str,
    *,
    notes: Sequence[str] = (),
    rows_per_sheet: int,
) -> int:
    """Write `STEM_1.png`, `STEM_2.png`, ...; sheets left by an earlier call are removed.

    Args:
        stem: path of the files without number and suffix.
        rows: of images.
        title: of every sheet; the numbers of its rows follow where there are several sheets.
        notes: smaller lines below the title.
        rows_per_sheet: at most.

    Returns:
        The number of sheets.
    """
    for old in stem.parent.glob(f"{escape(stem.name)}_[0-9]*.png"):
        old.unlink()
    starts = range(0, len(rows), rows_per_sheet)
    for number, start in enumerate(starts, start=1):
        part = rows[start : start + rows_per_sheet]
        which = f" (rows {start + 1} to {start + len(part)})" if len(starts) > 1 else ""
        sheet = draw_sheet(part, title=title + which, notes=notes)
        with atomic_file(stem.with_name(f"{stem.name}_{number}.png")) as partial:
            sheet.image.save(partial)
    return len(starts)

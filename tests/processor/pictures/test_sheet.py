"""Sheets of pictures: every pixel that says something is where it should be."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageColor, ImageFont

from datasets.images.decode import BadImageError
from processor.pictures.sheet import FRAME, MARGIN, Tile, draw_sheet, shorten
from processor.pictures.style import HUES, MARKS, PAPER

HEIGHT = 96
PURPLE = (120, 0, 200)


@pytest.fixture
def picture(tmp_path: Path) -> str:
    """A file of one colour, 40 wide and 80 high."""
    path = tmp_path / "picture.png"
    Image.new("RGB", (40, 80), PURPLE).save(path)
    return str(path)


def box_of(sheet: Image.Image, colour: tuple[int, ...]) -> tuple[int, int, int, int] | None:
    """Left, top, right and bottom (exclusive) of a colour's pixels."""
    return Image.fromarray((np.asarray(sheet) == colour).all(axis=2)).getbbox()


@pytest.mark.parametrize("frame", list(MARKS))
def test_a_frame_has_the_colour_of_its_meaning_all_round(picture, frame):
    sheet = draw_sheet([[Tile(picture, (), frame)]], tile_height=HEIGHT)
    colour = ImageColor.getrgb(MARKS[frame].colour)
    left = MARGIN + (92 - 48 - 2 * FRAME) // 2  # in the middle of the narrowest column
    right, bottom = left + 48 + 2 * FRAME - 1, MARGIN + HEIGHT + 2 * FRAME - 1
    for place in ((right, MARGIN), (left, bottom), (right, bottom), (left, bottom // 2)):
        assert sheet.getpixel(place) == colour
    assert sheet.getpixel((right + 1, bottom)) == ImageColor.getrgb(PAPER)


def test_a_picture_keeps_its_aspect_and_its_colour(picture):
    sheet = draw_sheet([[Tile(picture)]], tile_height=HEIGHT)
    left, top, right, bottom = box_of(sheet, PURPLE)
    assert (right - left, bottom - top) == (48, 96)


def test_a_very_wide_picture_is_scaled_down_instead_of_widening_the_sheet(tmp_path):
    Image.new("RGB", (4000, 10), PURPLE).save(tmp_path / "wide.png")
    sheet = draw_sheet([[Tile(str(tmp_path / "wide.png"))]], tile_height=HEIGHT)
    left, top, right, bottom = box_of(sheet, PURPLE)
    assert right - left == 2 * HEIGHT
    assert bottom - top == 1  # not less


def test_junk_is_pale_besides_its_frame_and_symbol(picture):
    sheet = draw_sheet([[Tile(picture, (), "junk")]], tile_height=HEIGHT)
    assert box_of(sheet, PURPLE) is None
    center = sheet.getpixel((MARGIN + 46, MARGIN + FRAME + HEIGHT // 2))
    assert center == pytest.approx([(value + 255) / 2 for value in PURPLE], abs=1)


def test_right_and_wrong_differ_in_gray(picture):
    right, wrong = (
        draw_sheet([[Tile(picture, (), frame)]], tile_height=HEIGHT).convert("1", dither=0)
        for frame in ("right", "wrong")
    )
    assert right.tobytes() != wrong.tobytes()


def test_meanings_are_different_colours_and_symbols():
    for a, b in combinations(MARKS.values(), 2):
        assert a.colour != b.colour
        assert a.symbol != b.symbol
        assert a.strokes != b.strokes
    assert len(set(HUES)) == 8


def test_columns_are_aligned_in_rows_of_different_lengths(picture):
    rows = [
        [Tile(picture, (), "query"), Tile(picture, (), "right"), Tile(picture, (), "wrong")],
        [Tile(picture, (), "query"), Tile(picture, (), "wrong")],
        [],
    ]
    sheet = draw_sheet(rows, tile_height=HEIGHT)
    upper = sheet.crop((0, 0, sheet.width, MARGIN + HEIGHT))
    lower = sheet.crop((0, MARGIN + HEIGHT + 2 * FRAME + 20, sheet.width, sheet.height - 60))
    right, wrong = (ImageColor.getrgb(MARKS[name].colour) for name in ("right", "wrong"))
    assert box_of(upper, right)[0::2] == box_of(lower, wrong)[0::2]
    assert box_of(lower, right) is None


def test_captions_and_title_make_room(picture):
    plain = draw_sheet([[Tile(picture)]])
    two_lines = draw_sheet([[Tile(picture, ("a", "b"))]])
    titled = draw_sheet([[Tile(picture)]], title="a title that is wider than the picture below it")
    assert plain.height < two_lines.height
    assert plain.height < titled.height
    assert plain.width == two_lines.width < titled.width


@given(st.text(st.characters(codec="latin-1", categories=["L", "N", "P"])), st.integers(10, 200))
def test_shortened_text_fits_and_keeps_both_ends(text, width):
    font = ImageFont.load_default(13)
    short = shorten(text, font, width)
    assert short == "…" or font.getlength(short) <= width
    if short != text:
        start, _, end = short.partition("…")
        assert text.startswith(start)
        assert text.endswith(end)
        assert 0 <= len(start) - len(end) <= 1


def test_a_sheet_needs_a_picture_that_can_be_read(tmp_path):
    with pytest.raises(ValueError, match="at least one picture"):
        draw_sheet([[], []])
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    with pytest.raises(BadImageError, match=r"broken\.jpg"):
        draw_sheet([[Tile(str(tmp_path / "broken.jpg"))]])

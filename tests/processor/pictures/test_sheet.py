"""Sheets of images: frames, symbols, columns, captions and legend are where they should be."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageColor

from datasets.images.decode import BadImageError
from processor.pictures.sheet import (
    FRAME,
    GAP,
    GROUP_GAP,
    MARGIN,
    NARROWEST,
    Tile,
    draw_sheet,
    write_sheets,
)
from processor.pictures.style import HUES, MARKS, PAPER

HEIGHT = 96
PURPLE = (120, 0, 200)


@pytest.fixture
def file(tmp_path: Path) -> str:
    """A file of one colour, 40 wide and 80 high."""
    path = tmp_path / "image.png"
    Image.new("RGB", (40, 80), PURPLE).save(path)
    return str(path)


def box_of(sheet: Image.Image, colour: tuple[int, ...]) -> tuple[int, int, int, int] | None:
    """Left, top, right and bottom (exclusive) of a colour's pixels."""
    return Image.fromarray((np.asarray(sheet) == colour).all(axis=2)).getbbox()


def draw(*rows, **options):
    return draw_sheet(rows, tile_height=HEIGHT, **options).image


def frames_of(sheet, frame):
    """(left, right) of the columns that hold a frame's colour."""
    own = (np.asarray(sheet) == ImageColor.getrgb(MARKS[frame].colour)).all(axis=2).any(axis=0)
    edges = np.flatnonzero(np.diff(np.pad(own, 1).astype(int)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


@pytest.mark.parametrize("frame", list(MARKS))
def test_frame_has_the_colour_of_its_meaning_all_round(file, frame):
    sheet = draw([Tile(file, (), frame)])
    colour = ImageColor.getrgb(MARKS[frame].colour)
    left = MARGIN + (NARROWEST - 48 - 2 * FRAME) // 2  # in the middle of the narrowest column
    right, bottom = left + 48 + 2 * FRAME - 1, MARGIN + HEIGHT + 2 * FRAME - 1
    for place in ((right, MARGIN), (left, bottom), (right, bottom), (left, bottom // 2)):
        assert sheet.getpixel(place) == colour
    assert sheet.getpixel((right + 1, bottom)) == ImageColor.getrgb(PAPER)


def test_image_keeps_its_aspect_and_its_colour(file):
    left, top, right, bottom = box_of(draw([Tile(file)]), PURPLE)
    assert (right - left, bottom - top) == (48, 96)


def test_very_wide_image_is_scaled_down_instead_of_widening_the_sheet(tmp_path):
    Image.new("RGB", (4000, 10), PURPLE).save(tmp_path / "wide.png")
    left, top, right, bottom = box_of(draw([Tile(str(tmp_path / "wide.png"))]), PURPLE)
    assert right - left == 2 * HEIGHT
    assert bottom - top == 1  # not less


def test_junk_is_pale_except_its_frame_and_symbol(file):
    sheet = draw([Tile(file, (), "junk")])
    assert box_of(sheet, PURPLE) is None
    center = sheet.getpixel((MARGIN + NARROWEST // 2, MARGIN + FRAME + HEIGHT // 2))
    assert center == pytest.approx([(value + 255) / 2 for value in PURPLE], abs=1)


def test_right_and_wrong_differ_in_gray(file):
    right, wrong = (
        draw([Tile(file, (), frame)]).convert("1", dither=0) for frame in ("right", "wrong")
    )
    assert right.tobytes() != wrong.tobytes()


def test_meanings_have_different_colours_and_symbols():
    for a, b in combinations(MARKS.values(), 2):
        assert a.colour != b.colour
        assert a.symbol != b.symbol
        assert a.strokes != b.strokes
    assert len(set(HUES)) == 8


def test_columns_are_aligned_in_rows_of_different_lengths(file):
    rows = [
        [Tile(file, (), "query"), Tile(file, (), "right"), Tile(file, (), "wrong")],
        [Tile(file, (), "query"), Tile(file, (), "wrong")],
        [],
    ]
    drawn = draw_sheet(rows, tile_height=HEIGHT)
    upper, lower = (
        drawn.image.crop((0, y - HEIGHT // 4, drawn.image.width, y + HEIGHT // 4))
        for y in drawn.middles[:2]
    )
    right, wrong = (ImageColor.getrgb(MARKS[name].colour) for name in ("right", "wrong"))
    assert box_of(upper, right)[0::2] == box_of(lower, wrong)[0::2]
    assert box_of(lower, right) is None


def test_empty_columns_keep_junk_apart_from_ranks(file):
    """Gaps set the three groups apart; a missing rank leaves its column empty."""
    query, wrong, junk = (Tile(file, (), name) for name in ("query", "wrong", "junk"))
    sheet = draw([query, wrong, wrong, junk], [query, wrong, None, junk, junk])
    width = NARROWEST
    starts = [MARGIN, MARGIN + width + GROUP_GAP]
    starts += [starts[1] + width + GAP, starts[1] + 2 * width + GAP + GROUP_GAP]
    starts += [starts[3] + width + GAP]
    inside = (width - 48 - 2 * FRAME) // 2
    below_header = sheet.crop((0, sheet.height // 2 - 60, *sheet.size))
    found = [frames_of(below_header, name) for name in ("query", "wrong", "junk")]
    assert [left - inside for part in found for left, *_ in [part[0]]] == [
        *(starts[0], starts[1], starts[3])
    ]
    assert found[2][-1][1] == starts[4] + width - inside


def test_middles_are_those_of_the_rows_images(file):
    drawn = draw_sheet([[Tile(file, ("a",))]] * 2, title="a title", tile_height=HEIGHT)
    for middle in drawn.middles:
        part = drawn.image.crop((0, middle - HEIGHT // 2, drawn.image.width, middle + HEIGHT // 2))
        assert box_of(part, PURPLE)[1::2] == (0, HEIGHT)


def test_legend_is_left_out_for_a_single_kind_of_frame(file):
    one = draw([Tile(file, (), "query"), Tile(file)])
    two = draw([Tile(file, (), "query"), Tile(file, (), "right")])
    assert one.height == 2 * MARGIN + HEIGHT + 2 * FRAME + GAP
    assert two.height > one.height + 28


def test_captions_title_and_notes_make_room(file):
    plain = draw([Tile(file)])
    two_lines = draw([Tile(file, ("a", "b"))])
    wrapped = draw([Tile(file, ("long_name_000123.jpg",))])
    titled = draw([Tile(file)], title="a title that is wider than the image below it")
    noted = draw([Tile(file)], title="a title", notes=["a note", "another"])
    assert plain.height < two_lines.height == wrapped.height
    assert plain.height < titled.height < noted.height
    assert plain.width == two_lines.width == wrapped.width < titled.width


def test_earlier_sheets_of_that_name_are_removed(file, tmp_path):
    (tmp_path / "list_7.png").write_bytes(b"of an earlier, longer list")
    (tmp_path / "other_7.png").write_bytes(b"of another list")
    rows = [[Tile(file)]] * 5
    assert write_sheets(tmp_path / "list", rows, "t", rows_per_sheet=2) == 3
    names = sorted(path.name for path in tmp_path.glob("*_*.png"))
    assert names == ["list_1.png", "list_2.png", "list_3.png", "other_7.png"]


def test_brackets_in_the_name_of_a_list_are_letters(tmp_path, file):
    (tmp_path / "a1_9.png").write_bytes(b"of the list a1")
    (tmp_path / "a[1]_9.png").write_bytes(b"of an earlier call")
    write_sheets(tmp_path / "a[1]", [[Tile(file)]], "t", rows_per_sheet=2)
    assert sorted(path.name for path in tmp_path.glob("a*")) == ["a1_9.png", "a[1]_1.png"]


def test_sheet_needs_an_image_that_can_be_read(tmp_path):
    with pytest.raises(ValueError, match="at least one image"):
        draw_sheet([[], [None]])
    (tmp_path / "broken.jpg").write_bytes(b"not an image")
    with pytest.raises(BadImageError, match=r"broken\.jpg"):
        draw_sheet([[Tile(str(tmp_path / "broken.jpg"))]])

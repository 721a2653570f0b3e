"""Wrapped text fits its width and loses nothing."""

import os

from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from processor.pictures.text import lines_height, load_font, wrap, write_lines

NAME = "bounding_box_test/0101_c1s1_000003_00.jpg"


@given(st.text(st.characters(codec="latin-1", categories=["L", "N", "P"])), st.integers(10, 200))
def test_wrapped_lines_fit_and_together_are_the_text(text, width):
    lines = wrap(text, 13, width)
    assert "".join(lines) == text
    for line in lines:
        assert load_font(13, line).getlength(line) <= width or len(line) == 1


def test_lines_break_after_spaces_and_separators():
    assert wrap("distance 0.056", 13, 60) == ["distance", "0.056"]
    lines = wrap(NAME, 13, 108)
    assert lines == ["bounding_box_", "test/0101_c1s1_", "000003_00.jpg"]
    assert wrap(NAME, 13, 1000) == [NAME]


def test_height_grows_with_lines_and_font():
    assert lines_height([], 20) == 0
    assert lines_height(["a", "b"], 20) == 2 * lines_height(["a"], 20)
    assert lines_height(["a"], 20) == 2 * lines_height(["a"], 10)


def test_letters_of_other_alphabets_are_drawn():
    """An unknown letter is drawn as a box, like U+FFFF."""
    for character in "éöся":
        font = load_font(20, character)
        assert list(font.getmask(character)) != list(font.getmask("\uffff"))


def test_bytes_and_control_characters_are_written_as_escapes():
    lines = wrap(os.fsdecode(b"\xe9") + "\x1b\n", 14, 500)
    assert lines == ["\\xe9\\x1b\\n"]
    write_lines(Image.new("RGB", (90, 30)), (0, 0), lines, 14)

"""Names from data stay text in Markdown and CSV."""

import os

import pytest

from processor.results.escaping import csv_cell, escape_markdown, markdown_code


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("my_shop (2), Özil's", "my_shop (2), Özil's"),
        ("[20, 6, 0.3]", "[20, 6, 0.3]"),
        ("a|b", "a&#124;b"),
        ("<script>x</script>", "&lt;script&gt;x&lt;/script&gt;"),
        ("AT&T", "AT&amp;T"),
        ("![x](http://there)", "![x]&#40;http://there)"),
        ("`rm`", "&#96;rm&#96;"),
        ("a\n# heading", "a\\n# heading"),
        (os.fsdecode(b"\xe9"), "\\xe9"),
    ],
)
def test_markdown_shows_the_name_and_obeys_nothing(name, written):
    assert escape_markdown(name) == written


@pytest.mark.parametrize(
    ("text", "code"),
    [("a <b>", "`a <b>`"), ("a`b", "`` a`b ``"), ("``", "``` `` ```"), ("a\nb", "`a\\nb`")],
)
def test_code_is_closed_only_at_its_end(text, code):
    assert markdown_code(text) == code


@pytest.mark.parametrize("first", ["=", "+", "-", "@", "\t", "\r"])
def test_text_that_begins_like_a_formula_gets_an_apostrophe(first):
    assert csv_cell(f"{first}1+1").startswith("'")
    assert csv_cell(f"a{first}1").startswith("a")


def test_numbers_and_missing_values_stay_as_they_are():
    assert [csv_cell(value) for value in (-0.5, 3, None, "")] == [-0.5, 3, None, ""]

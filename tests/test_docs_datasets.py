"""docs/datasets.md against the registry and the readers."""

import importlib
import pkgutil
import re
from pathlib import Path

import pytest

from datasets import readers
from datasets.readers.layout import Layout
from datasets.readers.published_sizes import LABELS
from datasets.registry import BENCHMARKS, num_splits

DOCS = Path(__file__).parents[1] / "docs"
TEXT = (DOCS / "datasets.md").read_text(encoding="utf-8")
TABLE = TEXT.partition("## All names")[2].partition("\n## ")[0]


def read_rows():
    """Name -> the other cells of its row, by the column's title."""
    lines = [line for line in TABLE.splitlines() if line.startswith("|")]
    titles, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [
        (name, dict(zip(titles, cells, strict=True)))
        for cells in rows
        for name in re.findall(r"`([^`]+)`", cells[0])
    ]


ROWS = read_rows()


def read_counts(cells):
    """Field of `PublishedSizes` -> the numbers in the table; none for "-"."""
    train_ids, _, train_images = cells["train"].partition("/")
    query_ids, _, query_images = cells["query"].partition("/")
    texts = (train_ids, train_images, query_ids, query_images, cells["gallery"])
    return dict(zip(LABELS, map(read_numbers, texts), strict=True))


def read_numbers(text):
    return {int(number.replace(",", "")) for number in re.findall(r"\d[\d,]*", text)}


def test_every_registered_name_has_one_row_and_no_other_name_has_one():
    assert sorted(name for name, _ in ROWS) == sorted(BENCHMARKS)


@pytest.mark.parametrize(("name", "cells"), ROWS, ids=[name for name, _ in ROWS])
def test_numbers_are_those_of_the_program(name, cells):
    assert int(cells["splits"]) == num_splits(name)
    for quantity, documented in read_counts(cells).items():
        published = set(getattr(BENCHMARKS[name].sizes, quantity))
        assert not documented or not published or documented == published, quantity


def test_every_name_is_below_a_heading():
    trees = TEXT.partition("## Trees and remarks")[2]
    assert [name for name, _ in ROWS if f"`{name}`" not in trees] == []


def find_folders():
    for info in pkgutil.iter_modules(readers.__path__):
        for key, value in vars(importlib.import_module(f"datasets.readers.{info.name}")).items():
            if isinstance(value, Layout):
                yield from value.folders
            elif key in ("FOLDERS", "MARKET_FOLDERS"):
                yield from value


def test_every_folder_that_readers_try_is_named():
    folders = {folder for folder in find_folders() if folder != "."}
    assert len(folders) > 20
    assert sorted(folder for folder in folders if f"`{folder}`" not in TEXT) == []


def test_linked_files_and_headings_exist():
    links = re.findall(r"\]\(([^):]+)\)", TEXT)
    anchors = {
        re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"^#+ (.*)", TEXT, re.MULTILINE)
    }
    assert links
    for link in links:
        file, _, anchor = link.partition("#")
        assert (DOCS / file).exists()
        assert not anchor or anchor in anchors

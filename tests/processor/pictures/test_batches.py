"""Sheets of batches: images, captions, and curves between look-alikes."""

import numpy as np
import pytest
from PIL import Image, ImageColor

from datasets.records import DataSplits, Sample
from datasets.sources import join_sources
from processor.pictures import batches
from processor.pictures.batches import GUTTER, SampledBatch, draw_batches, find_links
from processor.pictures.sheet import MARGIN, Drawn
from processor.pictures.style import REDDISH_PURPLE

NEIGHBOURS = [[1], [0], [3], [0]]


def draw(monkeypatch, batch, data, most=8):
    """The page, and rows of (path, caption) of its sheets."""
    sheets = []

    def record(rows, *, tile_height):
        del tile_height
        sheets.append([[(tile.path, tile.caption) for tile in row] for row in rows])
        middles = [20 + 30 * place for place in range(len(rows))]
        return Drawn(Image.new("RGB", (140, 30 * len(rows) + 10), "white"), middles)

    monkeypatch.setattr(batches, "draw_sheet", record)
    return draw_batches([batch, batch], data, NEIGHBOURS, "above", most), sheets


def data_of(*names):
    """Two identities, 5 and 9, with two images each in cameras 0 and 1 of every source."""
    return join_sources(
        [
            DataSplits(
                name, [Sample(f"{name}{pid}{c}", pid, c) for pid in (5, 9) for c in (0, 1)], [], []
            )
            for name in names
        ]
    )


def purple(page):
    """The curves' pixels (y, x)."""
    colour = ImageColor.getrgb(REDDISH_PURPLE)
    return np.argwhere((np.asarray(page) == colour).all(axis=2))


def test_a_row_per_identity(monkeypatch):
    batch = SampledBatch("DFGS", [3, 2, 0, 1], [1, 0], [0.5, 0.25], 0.375, 1.5)
    page, sheets = draw(monkeypatch, batch, data_of("a"))
    rows = [
        [("a91", ("identity 9", "nearest at 0.500")), ("a90", ("camera 1",))],
        [("a50", ("identity 5", "nearest at 0.250")), ("a51", ("camera 2",))],
    ]
    assert sheets == [rows] * 2
    assert page.width == 2 * (GUTTER + 140)


def test_heading_says_hits_of_how_many(monkeypatch):
    written = []
    write = batches.write_lines
    monkeypatch.setattr(
        batches, "write_lines", lambda *a: (written.append(" ".join(a[2])), write(*a))
    )
    batch = SampledBatch("DFGS", [3, 2, 0, 1], [1, 0], [0.5, 0.25], 0.375, 0.46)
    draw(monkeypatch, batch, data_of("a"))
    assert written[:2] == ["DFGS: hits 0.5 of 1"] * 2
    assert written[2] == "above"


def test_links_join_rows_of_which_one_is_a_neighbour_of_the_other():
    assert find_links([0, 2, 3, 1], NEIGHBOURS) == [(0, 2), (0, 3), (1, 2)]
    assert find_links([2, 1], NEIGHBOURS) == []


@pytest.mark.parametrize(("labels", "linked"), [([1, 0], True), ([0, 2], False)])
def test_curve_is_drawn_between_look_alikes_only(monkeypatch, labels, linked):
    batch = SampledBatch("GS", [3, 2, 0, 1], labels, [0.5, 0.25], 0.375, 1.5)
    page, _ = draw(monkeypatch, batch, data_of("a"))
    found = purple(page)
    assert bool(len(found)) == linked
    if linked:  # from one row's middle to the other's, 30 pixels below, in both gutters
        assert np.ptp(found[:, 0]) >= 30
        left = found[found[:, 1] < page.width // 2, 1]
        assert MARGIN <= left.min() < left.max() <= MARGIN + GUTTER
        assert len(left) < len(found)


def test_some_identities_of_a_batch(monkeypatch):
    batch = SampledBatch("GS", [3, 2, 0, 1], [1, 0], [0.5, 0.25], 0.375, 1.5)
    page, sheets = draw(monkeypatch, batch, data_of("a"), most=1)
    assert [len(rows) for rows in sheets] == [1, 1]
    assert len(purple(page)) == 0


def test_sources_are_named_and_cameras_are_their_own(monkeypatch):
    batch = SampledBatch("GS", [4, 5, 0, 1], [2, 0], [0.5, 0.25], 0.375, 1.5)
    _, sheets = draw(monkeypatch, batch, data_of("a", "b"))
    assert sheets[0] == [
        [("b50", ("identity 5", "nearest at 0.500", "b")), ("b51", ("camera 2",))],
        [("a50", ("identity 5", "nearest at 0.250", "a")), ("a51", ("camera 2",))],
    ]

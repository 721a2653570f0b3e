"""Sheets of batches: which pictures stand where, and what is written below them."""

from PIL import Image

from datasets.records import DataSplits, Sample
from datasets.sources import join_sources
from processor.pictures import batches
from processor.pictures.batches import SampledBatch, draw_batches


def draw(monkeypatch, batch, data, most=8):
    """The sheets' titles and rows of (path, caption)."""
    sheets = []

    def record(rows, *, title, tile_height):
        del tile_height
        sheets.append((title, [[(tile.path, tile.caption) for tile in row] for row in rows]))
        return Image.new("RGB", (40, 30 + 10 * len(sheets)))

    monkeypatch.setattr(batches, "draw_sheet", record)
    page = draw_batches([batch, batch], data, "above", most)
    return page, sheets


def data_of(*names):
    """Two identities, 5 and 9, with two images each before cameras 0 and 1 of every source."""
    return join_sources(
        [
            DataSplits(
                name, [Sample(f"{name}{pid}{c}", pid, c) for pid in (5, 9) for c in (0, 1)], [], []
            )
            for name in names
        ]
    )


def test_a_row_per_identity(monkeypatch):
    batch = SampledBatch("DFGS", [3, 2, 0, 1], [1, 0], [0.5, 0.25], 0.375, 1.5)
    page, sheets = draw(monkeypatch, batch, data_of("a"))
    rows = [
        [("a91", ("id 9", "nearest 0.500")), ("a90", ("camera 0",))],
        [("a50", ("id 5", "nearest 0.250")), ("a51", ("camera 1",))],
    ]
    assert sheets == [("DFGS: hits 1.50, nearest 0.375", rows)] * 2
    assert page.size == (80, batches.HEADER + 50)


def test_some_identities_of_a_batch(monkeypatch):
    batch = SampledBatch("GS", [3, 2, 0, 1], [1, 0], [0.5, 0.25], 0.375, 1.5)
    _, sheets = draw(monkeypatch, batch, data_of("a"), most=1)
    assert [len(rows) for _, rows in sheets] == [1, 1]


def test_sources_are_named_and_cameras_are_their_own(monkeypatch):
    batch = SampledBatch("GS", [4, 5, 0, 1], [2, 0], [0.5, 0.25], 0.375, 1.5)
    _, sheets = draw(monkeypatch, batch, data_of("a", "b"))
    assert sheets[0][1] == [
        [("b50", ("id 5", "nearest 0.500", "b")), ("b51", ("camera 1",))],
        [("a50", ("id 5", "nearest 0.250", "a")), ("a51", ("camera 1",))],
    ]

"""The neighbours of a search, as JSON and as sheets."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from processor.search.exact import Neighbours
from processor.search.feature_file import StoredFeatures
from processor.tools.search import Findings, write_findings


def stored(paths, pids):
    ids = np.array(pids)
    return StoredFeatures(np.zeros((len(paths), 2)), paths, ids, np.full_like(ids, -1), {})


@pytest.fixture
def findings(tmp_path):
    """Twelve queries in a gallery of three; the third neighbour of each is missing."""
    for name in "abc":
        Image.new("RGB", (16, 32), "teal").save(tmp_path / f"{name}.png")
    paths = [str(tmp_path / f"{name}.png") for name in "abc"]
    neighbours = Neighbours(
        torch.tensor([[2, 0, -1]] * 12), torch.tensor([[0.0, 0.25, torch.inf]] * 12).double()
    )
    return Findings(stored(paths * 4, [-1] * 12), stored(paths, [7, -1, -1]), neighbours)


def test_json_lists_the_neighbours_of_every_query(findings, tmp_path):
    write_findings(findings, tmp_path / "new" / "out", {"index": "flat"})
    written = json.loads((tmp_path / "new" / "out" / "neighbours.json").read_text())
    a, _, c = findings.gallery.paths
    assert written["index"] == "flat"
    assert len(written["queries"]) == 12
    assert written["queries"][0] == {
        "query": a,
        "nearest": [
            {"rank": 1, "path": c, "row": 2, "distance": 0.0},
            {"rank": 2, "path": a, "row": 0, "distance": 0.25, "pid": 7},
        ],
    }


def test_a_sheet_has_ten_queries(findings, tmp_path):
    write_findings(findings, tmp_path / "out", {})
    names = sorted(path.name for path in (tmp_path / "out").glob("*.png"))
    assert names == ["neighbours_1.png", "neighbours_2.png"]
    tall, short = (Image.open(tmp_path / "out" / name) for name in names)
    assert tall.height > 4 * short.height


def test_moved_gallery_has_no_sheet(findings, tmp_path, caplog):
    (tmp_path / "c.png").rename(tmp_path / "moved.png")
    write_findings(findings, tmp_path / "out", {})
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["neighbours.json"]
    assert "no sheet of images: 1 of them no longer exist, such as" in caplog.text
    assert str(tmp_path / "c.png") in caplog.text

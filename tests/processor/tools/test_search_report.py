"""The neighbours of a search, as JSON and as sheets."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from datasets.records import Sample
from processor.search.exact import Neighbours
from processor.search.stored_features import StoredFeatures
from processor.tools import search
from processor.tools.search import Findings, write_findings


def stored(paths, pids):
    """Features of images; the camera is known where the pid is."""
    samples = [
        Sample(path, pid, 2 if pid >= 0 else -1, pid_name="Moby" if pid >= 0 else "")
        for path, pid in zip(paths, pids, strict=True)
    ]
    return StoredFeatures(np.zeros((len(paths), 2)), samples, {})


@pytest.fixture
def findings(tmp_path):
    """Twelve queries in a gallery of three; the third neighbour of each is missing."""
    for name in "abc":
        Image.new("RGB", (16, 32), "teal").save(tmp_path / f"{name}.png")
    paths = [str(tmp_path / f"{name}.png") for name in "abc"]
    neighbours = Neighbours(
        torch.tensor([[2, 0, -1]] * 12), torch.tensor([[0.0, 0.25, torch.inf]] * 12).double()
    )
    queries = stored(paths * 4, [-1] * 12).samples
    return Findings(queries, stored(paths, [7, -1, -1]), neighbours)


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
            {
                "rank": 2,
                "path": a,
                "row": 0,
                "distance": 0.25,
                "pid": 7,
                "name": "Moby",
                "camid": 2,
                "camera": "3",
            },
        ],
    }


def test_captions_name_rank_folder_and_file_and_mark_the_query_itself(
    findings, tmp_path, monkeypatch
):
    drawn = []
    monkeypatch.setattr(search, "write_sheets", lambda *args, **_: drawn.extend(args[1]))
    write_findings(findings, tmp_path / "out", {})
    folder = f"{tmp_path.name}/"
    assert [tile.caption for tile in drawn[0]] == [
        ("query", folder, "a.png"),
        ("rank 1", "distance 0.000", folder, "c.png"),
        ("rank 2", "the query itself", "distance 0.250", "identity Moby", "camera 3", "a.png"),
    ]
    assert [tile.frame for tile in drawn[0]] == ["query", None, "query"]
    assert [tile.frame for tile in drawn[1]] == ["query", None, None]  # b is not in its list


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
    assert "no sheets: 1 images no longer exist, e.g." in caplog.text
    assert str(tmp_path / "c.png") in caplog.text

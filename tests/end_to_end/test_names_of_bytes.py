"""Names that are not UTF-8, or that a terminal, page or table would obey, work everywhere."""

import json
import os
import shutil
from pathlib import Path

import pytest

from datasets.own.table import read_csv_entries
from datasets.readers.image_files import find_files

NAMES = [
    b"Jos\xe9",
    b"\xc2\xed\xc0\xf6",
    b"=1+1",
    b"a|b<i>",
    b"e\x1b[31m",
    b"new\nline",
    b"$x$",
    b"7",
]


@pytest.fixture(scope="module")
def zoo(people, tmp_path_factory):
    """A folder per identity; folders and files are named in Latin-1 and GBK."""
    folder = tmp_path_factory.mktemp("bytes") / os.fsdecode(b"t\xeate")
    images = sorted((people / "bounding_box_train").iterdir())
    pids = sorted({path.name[:4] for path in images})
    for pid, name in zip(pids, NAMES, strict=False):
        try:
            identity = folder / os.fsdecode(name)
            identity.mkdir(parents=True)
        except OSError:
            pytest.skip("this file system has only UTF-8 names")
        for path in (path for path in images if path.name.startswith(pid)):
            shutil.copy(
                path, folder / os.fsdecode(name) / os.fsdecode(b"\xff" + path.name.encode())
            )
    (folder / os.fsdecode(NAMES[0]) / os.fsdecode(b"\xff.heic")).touch()
    return folder


@pytest.fixture(scope="module")
def run(train_in, zoo, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / os.fsdecode(b"\xe9t\xe9")
    train_in(folder, "DATASETS.NAMES", str(zoo), "SOLVER.STAGE2.IMS_PER_BATCH", "16")
    return folder


def test_training_writes_results_that_are_text(run):
    assert "| t\\xeate |" in (run / "results.md").read_text(encoding="utf-8")
    assert os.fsdecode(b"t\xeate") in json.loads((run / "results.json").read_text())["targets"]
    assert "t\\xeate" in (run / "log.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "command",
    [
        ["test_clipreid.py", "TEST.WEIGHT", "{last}"],
        ["run.py", "data-check", "{zoo}", "--json", "{out}/check.json"],
        ["run.py", "rank-list", "{last}", "--output", "{out}"],
        ["run.py", "threshold", "{last}", "--output", "{out}"],
        ["run.py", "embedding", "{last}", "--output", "{out}/plane.png"],
        ["run.py", "batches", "{last}", "--output", "{out}/batches.png"],
        ["run.py", "attention", "{last}", "{zoo}", "--limit", "3", "--output", "{out}"],
        ["run.py", "curves", "{run}", "--output", "{out}/curves.png"],
        ["run.py", "results", "{run}", "--output", "{out}/runs.md", "--csv", "{out}/runs.csv"],
        ["run.py", "extract", "{last}", "{zoo}", "--output", "{out}/f.npz"],
        ["run.py", "search", "{last}", "--gallery", "{zoo}", "--query", "{zoo}"],
    ],
    ids=lambda command: command[1] if command[0] == "run.py" else command[0],
)
def test_every_command_works_and_prints_only_text(script, zoo, run, tmp_path, command):
    out = tmp_path / os.fsdecode(b"out\xe9")
    out.mkdir()
    places = {"last": run / "last.pth", "zoo": zoo, "run": run, "out": out}
    done = script(*(word.format(**places) for word in command))
    assert done.status == 0, done.output
    done.output.encode("utf-8")
    assert "\x1b[31m" not in done.output
    for path in out.rglob("*"):
        if path.suffix in (".html", ".md", ".json"):
            path.read_bytes().decode("utf-8")


def test_files_that_are_not_read_are_counted_wherever_folders_are_read(script, zoo, run, tmp_path):
    checked = script("run.py", "data-check", str(zoo))
    assert "WARNING files not read: t\\xeate: 1 file not read: .heic 1" in checked.output
    output = ["--output", str(tmp_path / "f.npz")]
    extracted = script("run.py", "extract", str(run / "last.pth"), str(zoo), *output)
    assert "1 file not read: .heic 1" in extracted.unwrapped
    assert "1 file not read: .heic 1" in (run / "log.txt").read_text(encoding="utf-8")


def test_clusters_can_be_read_as_own_data(script, zoo, run, tmp_path):
    last, options = str(run / "last.pth"), ["DSGL.EPS", "0.9", "DSGL.K1", "5", "DSGL.K2", "2"]
    done = script("run.py", "cluster", last, str(zoo), "--output", str(tmp_path), *options)
    assert done.status == 0, done.output
    entries = read_csv_entries(tmp_path / "clusters.csv").values()
    assert [entry.path for entry in entries] == find_files(zoo.resolve()).images


def test_identified_images_are_named_by_their_folders(script, zoo, run, tmp_path):
    last, gallery = str(run / "last.pth"), ["--gallery", str(tmp_path / "gallery")]
    assert script("run.py", "enrol", last, str(zoo), *gallery).status == 0
    output = tmp_path / "found.json"
    options = ["--threshold", "0.01", "--output", str(output)]
    assert script("run.py", "identify", last, str(zoo), *gallery, *options).status == 0
    images = json.loads(output.read_text())["images"]
    assert len(images) == len(find_files(zoo).images)
    assert all(image["name"] == Path(image["path"]).parent.name for image in images)

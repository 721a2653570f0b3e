"""Outputs are checked before any work, and a folder has one owner."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from processor.runtime.lock import LOCK_FILE, locked_folder
from processor.search.gallery import RECORD_FILE

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def occupied(tmp_path_factory):
    """A file where the outputs want a folder."""
    path = tmp_path_factory.mktemp("occupied") / "file"
    path.write_text("mine")
    return path


COMMANDS = {
    "attention": "attention {model} {images} --output {out}",
    "batches": "batches {model} --output {out}/a.png",
    "cluster": "cluster {model} {images} --output {out}",
    "curves": "curves {run} --output {out}/a.png",
    "data-check": "data-check {data} --json {out}/a.json",
    "embedding": "embedding {model} --output {out}/a.png",
    "enrol": "enrol {model} {images} --name a --gallery {out}",
    "export --onnx": "export {model} --onnx {out}/a.onnx",
    "export --slim": "export {model} --slim {out}/a.pth",
    "export --safetensors": "export {model} --safetensors --output {out}",
    "extract": "extract {model} {images} --output {out}/a.npz",
    "identify": "identify {model} {images} --gallery g --threshold 1 --output {out}/a.json",
    "rank-list": "rank-list {model} --output {out}",
    "results": "results {run} --output {out}/a.md",
    "results --csv": "results {run} --csv {out}/a.csv",
    "search": "search {model} --query {images} --gallery {images} --output {out}",
    "threshold": "threshold {model} --output {out}",
    "test_clipreid.py": "TEST.WEIGHT {model} OUTPUT_DIR {out}",
    "train_clipreid.py": "OUTPUT_DIR {out}",
    "train.py": "OUTPUT_DIR {out}",
    "train_dsgl.py": "--dataset market1501 --logs-dir {out}",
}


@pytest.mark.parametrize("name", COMMANDS)
def test_impossible_output_is_one_line_before_any_work(
    name, script, straight, people, base_opts, occupied, tmp_path
):
    """Also below the file, and with a name of 260 letters."""
    for out, reason in ((occupied, "Not a directory"), (tmp_path / ("n" * 260), "name too long")):
        words = COMMANDS[name].format(
            model=straight / "last.pth", run=straight, images=people / "query", data=people, out=out
        )
        program = name if name.endswith(".py") else "run.py"
        extra = base_opts if name in ("train_clipreid.py", "train.py") else []
        finished = script(program, *extra, *words.split())
        assert finished.status == 1, finished.output
        line = next(x for x in finished.output.splitlines() if x.startswith("error: "))
        assert "cannot write to" in line
        assert reason in line
        assert "; " in line  # the remedy
        assert "Traceback" not in finished.output
        assert "mAP" not in finished.output
    assert occupied.read_text() == "mine"


def test_second_run_in_a_folder_is_refused_by_the_name_of_the_first(script, base_opts, tmp_path):
    with locked_folder(tmp_path, "OUTPUT_DIR"):
        finished = script("train_clipreid.py", *base_opts, "OUTPUT_DIR", tmp_path)
    assert finished.status == 1
    assert f"error: OUTPUT_DIR: {tmp_path} is in use by process " in finished.output
    assert list(tmp_path.iterdir()) == []


def test_two_enrolments_at_once_lose_no_rows(straight, people, tmp_path):
    images = sorted((people / "query").glob("*.jpg"))[:2]
    words = ["enrol", straight / "last.pth", "--gallery", tmp_path / "gallery", "--name"]
    started = [
        subprocess.Popen(
            [sys.executable, "run.py", *map(str, [*words, image.stem, image])],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for image in images
    ]
    for process in started:
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, output
    names = json.loads((tmp_path / "gallery" / RECORD_FILE).read_text())["names"]
    assert sorted(names) == [image.stem for image in images]
    assert not (tmp_path / "gallery" / LOCK_FILE).exists()

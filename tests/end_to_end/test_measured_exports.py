"""Files in 8-bit integers and for OpenVINO: measured, and refused if they cost too much."""

import json
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
import torch

from clipreid import Extractor
from config import load_cfg
from datasets import read_dataset
from processor.tools import measured_exports
from processor.tools.measured_exports import Measured, format_report, median_seconds

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]


@pytest.fixture
def run_export(script, straight, monkeypatch):
    monkeypatch.setattr(measured_exports, "SECONDS", 0.01)
    return lambda *arguments: script("run.py", "export", straight / "last.pth", *arguments)


def images_of(folder):
    cfg = load_cfg(str(folder / "config.yml"))
    splits = read_dataset(cfg.DATASETS.NAMES[0], cfg.DATASETS.ROOT_DIR)
    return [sample.path for sample in splits.query]


def test_integers_keep_the_features_in_a_smaller_file(run_export, straight, tmp_path):
    file, flags = tmp_path / "small.onnx", ("--preprocess", "--normalize")
    kept = ("--onnx", tmp_path / "float.onnx")
    finished = run_export("--int8", file, *kept, *flags, "--max_drop", "20")
    assert finished.status == 0, finished.output
    weights = {x.name: x.data_type for x in onnx.load(file).graph.initializer}
    assert onnx.TensorProto.INT8 in weights.values()
    expected, found = (Extractor(x)(images_of(straight)) for x in (kept[1], file))
    cosines = torch.cosine_similarity(expected, found)
    assert 0.95 < cosines.min() < 0.999999
    assert file.stat().st_size < 0.6 * kept[1].stat().st_size
    report = json.loads(file.with_name("small.onnx.json").read_text(encoding="utf-8"))
    assert report["float32"]["cosine"] == pytest.approx([1, 1])
    this = report["this"]
    before, after = (sum(x["mAP"].values()) for x in (report["float32"], this))
    assert this["drop"] == pytest.approx(before - after)
    assert this["cosine"][0] == pytest.approx(float(cosines.min()), abs=0.02)
    assert this["images_per_second"].keys() == {"1", "32"}
    assert this["batch_difference"] <= 1e-4
    assert "images/s of 32" in finished.output


def test_a_drop_beyond_the_limit_is_not_written(run_export, tmp_path):
    finished = run_export("--int8", tmp_path / "small.onnx", "--max_drop", "-50")
    assert finished.status == 1
    assert "small.onnx: not written, its mAP is" in finished.output
    assert "allowed are -50.0 (--max_drop)" in finished.unwrapped
    assert list(tmp_path.iterdir()) == []


def test_rows_that_depend_on_the_batch_are_not_written(run_export, tmp_path, monkeypatch):
    monkeypatch.setattr(measured_exports, "LARGEST_DIFFERENCE", -1.0)
    finished = run_export("--int8", tmp_path / "small.onnx", "--max_drop", "50")
    assert finished.status == 1
    assert "not written, its rows differ by" in finished.unwrapped
    assert "between batches of 1, 7, 64" in finished.unwrapped
    assert list(tmp_path.iterdir()) == []


def test_ranges_are_measured_on_given_images(run_export, people, tmp_path):
    files = [tmp_path / "gallery.onnx", tmp_path / "given.onnx"]
    query = ("--images", people / "query")
    for file, images in zip(files, [(), query], strict=True):
        assert run_export("--int8", file, *images, "--max_drop", "50").status == 0
    scales = [
        [x.raw_data for x in onnx.load(file).graph.initializer if "scale" in x.name]
        for file in files
    ]
    assert len(scales[0]) == len(scales[1])
    assert scales[0] != scales[1]


def test_flags_belong_together(run_export, tmp_path):
    for arguments, message in (
        (
            ("--onnx", tmp_path / "a.onnx", "--max_drop", "1"),
            "--data, --max_drop: only with --int8",
        ),
        (("--int8", tmp_path / "a.pth"), "should end in .onnx"),
        (("--openvino", tmp_path / "a.onnx"), "should end in .xml"),
    ):
        finished = run_export(*arguments)
        assert finished.status in (1, 2)
        assert message in finished.output or finished.status == 2
    assert list(tmp_path.iterdir()) == []


OPENVINO = """
import runpy, sys
import numpy as np
import torch
from clipreid import Extractor
from processor.tools import measured_exports

torch.set_num_threads(1)
measured_exports.SECONDS = 0.01
checkpoint, file, *images = sys.argv[1:]
sys.argv = ["run.py", "export", checkpoint, "--openvino", file]
try:
    runpy.run_path("run.py", run_name="__main__")
except SystemExit as end:
    assert not end.code
expected, found = (Extractor(x)(images).numpy() for x in (checkpoint, file))
cosines = (expected * found).sum(1)
assert 0.999 < cosines.min() < 1 - 1e-9, cosines
print("same")
"""


def test_openvino_file_needs_no_options(straight, tmp_path):
    """In a process of its own, as OpenVINO starts threads that outlive its networks."""
    pytest.importorskip("openvino")
    words = [straight / "last.pth", tmp_path / "net.xml", *images_of(straight)]
    command = [sys.executable, "-c", OPENVINO, *map(str, words)]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert finished.stdout.endswith("same\n"), finished.stdout + finished.stderr
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["net.bin", "net.xml", "net.xml.json"]


def test_report_compares_with_the_first_file():
    one = Measured("a.onnx", 2.0, {"street": 80.0}, 0.0, (1.0, 1.0), {1: 10.0, 32: 100.0}, 0.0)
    two = Measured("b.onnx", 0.5, {"street": 79.75}, 0.25, (0.9, 0.95), {1: 15.0, 32: 250.0}, 0.0)
    head, first, second = format_report([one, two]).splitlines()
    assert head.split()[:4] == ["file", "MB", "street", "drop"]
    assert first.split() == [
        "a.onnx",
        "2.0",
        "80.00",
        "+0.00",
        "1.0000",
        "1.0000",
        "10",
        "(1.00x)",
        "100",
        "(1.00x)",
    ]
    assert second.split() == [
        "b.onnx",
        "0.5",
        "79.75",
        "+0.25",
        "0.9000",
        "0.9500",
        "15",
        "(1.50x)",
        "250",
        "(2.50x)",
    ]


def test_median_of_repetitions(monkeypatch):
    ticks = iter([0, 1, 10, 12, 20, 23, 30, 34, 40, 45])
    monkeypatch.setattr(measured_exports.time, "perf_counter", lambda: next(ticks))
    calls = []
    assert median_seconds(lambda: calls.append(1), total=1) == 3
    assert len(calls) == 2 + 5

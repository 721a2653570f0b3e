"""Benchmarks that compare two implementations run, and detect different results."""

import importlib
import re
import runpy
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from datasets.images.crops import crop_boxes
from processor.evaluation.protocol import Protocol

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def run_splits(monkeypatch, capsys):
    """`run_splits()` -> exit status and output of the benchmark, measured once."""

    def run():
        monkeypatch.setattr(sys, "argv", ["splits.py", "--repeats", "1"])
        monkeypatch.setattr(sys, "path", list(sys.path))
        with pytest.raises(SystemExit) as exit_:
            runpy.run_path(str(BENCHMARKS / "splits.py"), run_name="__main__")
        return exit_.value.code, capsys.readouterr().out

    return run


def test_ten_splits_score_as_ten_evaluations(run_splits):
    status, output = run_splits()
    assert status == 0
    assert "0 of them differ from separate evaluations" in output
    mean_ap = float(re.match(r"mAP (\S+)% ± \S+ of 10 splits\n", output)[1])
    assert 10 < mean_ap < 90  # neither chance nor all found
    assert "features of 1280 numbers" in output


def test_benchmark_detects_a_split_with_other_scores(run_splits, monkeypatch):
    score = Protocol.score

    def wrong(self, retrieval):
        metrics = score(self, retrieval)
        return replace(metrics, mINP=metrics.mINP / 2) if retrieval.query[0].pid else metrics

    monkeypatch.setattr(Protocol, "score", wrong)
    status, output = run_splits()
    assert status == 1
    assert not output.splitlines()[1].startswith("0 of them")


@pytest.fixture
def benchmark(monkeypatch):
    """`benchmark("clustering")` -> the script as a module."""
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
    monkeypatch.setattr(sys, "argv", ["script.py", "--repeats", "1"])
    return importlib.import_module


def test_clusters_of_both_ways_are_compared(benchmark, monkeypatch):
    script = benchmark("clustering")
    monkeypatch.setattr(script, "SMALL", script.Size(0, 240, 32, 16, spread=0.8))
    heading, dense, sparse = script.compare()
    assert heading[2:] == ("clusters", "outliers")
    assert dense[2:] == sparse[2:]
    assert int(dense[2]) > 8
    plain = script.dense_jaccard
    monkeypatch.setattr(script, "dense_jaccard", lambda features: plain(features).clip(0.7))
    with pytest.raises(SystemExit, match="of 240 images have another cluster"):
        script.compare()


def test_losses_of_both_ways_are_compared(benchmark, monkeypatch, capsys):
    script = benchmark("dsgl_losses")
    sizes = {"IMAGES": 400, "WIDTH": 16, "CLUSTERS": 12, "OUTLIERS": 40}
    for name, value in sizes.items():
        monkeypatch.setattr(script, name, value)
    script.main()
    output = capsys.readouterr().out
    assert "400 images x 16, 12 clusters, batch 64\n" in output
    assert float(re.search(r"losses, gradients, rows (\S+)\.\n", output)[1]) < 2e-5
    monkeypatch.setattr(script, "PUSH", 0.2)
    epoch = script.draw_epoch()
    expected = script.step_by_loops(epoch, script.Loops(epoch))
    monkeypatch.setattr(script, "PUSH", 0.1)
    memory = script.ClusterMemory(epoch.centroids)
    bank = script.InstanceBank(epoch.features, epoch.labels, epoch.irrelevant)
    with pytest.raises(SystemExit, match="the implementations disagree"):
        script.check_equal(expected, script.step_vectorized(epoch, memory, bank, faithful=True))


def test_crops_are_compared_with_the_same_images(benchmark, monkeypatch, capsys):
    script = benchmark("crops")
    monkeypatch.setattr(script, "SIZE", (64, 32))
    monkeypatch.setattr(sys, "argv", ["crops.py", "--boxes", "3", "--repeats", "1"])
    threads = torch.get_num_threads()
    try:
        script.main()
        assert re.search(r"2 threads: crops \S+ ms, model \S+ ms, beside", capsys.readouterr().out)
        monkeypatch.setattr(script, "crop_boxes", lambda frame, boxes: crop_boxes(frame, boxes - 5))
        with pytest.raises(SystemExit, match="not those of the same images"):
            script.main()
    finally:
        torch.set_num_threads(threads)

"""The benchmark of several splits runs, and finds a split that does not score as it does alone."""

import re
import runpy
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from processor.evaluation.evaluator import Evaluator

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


def test_split_that_scores_otherwise_is_found(run_splits, monkeypatch):
    score = Evaluator._score

    def wrong(self, retrieval):
        metrics = score(self, retrieval)
        return replace(metrics, mINP=metrics.mINP / 2) if retrieval.query[0].pid else metrics

    monkeypatch.setattr(Evaluator, "_score", wrong)
    status, output = run_splits()
    assert status == 1
    assert not output.splitlines()[1].startswith("0 of them")

"""`run.py results` on runs of the program itself."""

import contextlib
import csv
import io
import json
import runpy
import shutil
from pathlib import Path
from statistics import fmean, stdev

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]


def test_seeds_share_a_row_and_a_stopped_run_shows_its_progress(
    script, straight, train_in, tmp_path
):
    runs = tmp_path / "runs"
    shutil.copytree(straight, runs / "first")
    train_in(runs / "second", "SOLVER.SEED", "7")
    shutil.copytree(straight, runs / "third")
    (runs / "third" / "results.json").unlink()
    written = [tmp_path / "table.md", tmp_path / "new" / "table.csv"]
    finished = script("run.py", "results", runs, "--output", written[0], "--csv", written[1])
    assert finished.status == 0, finished.output
    assert "3 runs of 1 configurations" in finished.output
    with written[1].open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    scores = [
        100 * json.loads((runs / name / "results.json").read_text())["average"]["mAP"]
        for name in ("first", "second")
    ]
    assert float(row["mAP"]) == pytest.approx(fmean(scores))
    assert float(row["mAP std"]) == pytest.approx(stdev(scores))
    assert row["seeds"] == "7, 1234"
    assert "third (seed 1234): stage 2, epoch 2 of 2" in row["not finished"]
    assert row["command"].startswith("python ")
    assert "torch " in row["versions"]
    text = written[0].read_text(encoding="utf-8")
    assert text in finished.output
    assert f"{fmean(scores):.1f} ± {stdev(scores):.1f}" in text


def test_help_says_how_means_are_formed(script):
    text = " ".join(script("run.py", "results", "--help").output.split())
    assert "differ only in SOLVER.SEED, OUTPUT_DIR and SOLVER.RESUME share a row" in text
    assert "the mean of their last epochs' scores" in text
    assert "(n - 1)" in text


def test_error_of_a_folder_without_runs_is_one_line(script, tmp_path):
    finished = script("run.py", "results", tmp_path)
    assert finished.status == 1
    assert f"error: no run in {tmp_path}" in finished.output
    assert "Traceback" not in finished.output


def test_table_is_written_where_the_terminal_cannot_show_it(straight, tmp_path, monkeypatch):
    """A name that the terminal's encoding lacks is shown escaped, and whole in the file."""
    shutil.copytree(straight, tmp_path / "\u0431\u0435\u0433")
    table, shown = tmp_path / "table.md", io.TextIOWrapper(io.BytesIO(), "cp1252")
    monkeypatch.setattr("sys.argv", ["run.py", "results", str(tmp_path), "--output", str(table)])
    monkeypatch.setattr("sys.stdout", shown)
    with contextlib.suppress(SystemExit):
        runpy.run_path(str(ROOT / "run.py"), run_name="__main__")
    shown.flush()
    assert b"\\u0431\\u0435\\u0433" in shown.buffer.getvalue()
    assert "\u0431\u0435\u0433" in table.read_text(encoding="utf-8")

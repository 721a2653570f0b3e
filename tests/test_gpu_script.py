"""The script for a first GPU runs on a CPU, at tiny sizes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.slow


def test_dry_run_of_the_gpu_script_has_every_part(tmp_path):
    done = subprocess.run(
        ["bash", str(ROOT / "benchmarks" / "gpu.sh"), "--tiny", str(tmp_path)],
        env={**os.environ, "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
    )
    content = json.loads((tmp_path / "gpu.json").read_text())
    assert content["failures"] == {}, content["failures"]
    assert done.returncode == 0, done.stdout + done.stderr
    rows = content["results"]
    parts = {"graph", "metrics", "extraction", "steps", "large", "ddp", "schedule", "tests"}
    assert {row["part"] for row in rows} == parts
    assert all(row["value"] > 0 for row in rows if row["unit"] in ("images/s", "s", "min"))
    (ddp,) = (row for row in rows if row["part"] == "ddp")
    assert ddp["value"] < 1e-4
    table = (tmp_path / "gpu.md").read_text()
    assert table.count("\n| ") == len(rows) + 1
    assert table in done.stdout


def test_a_part_that_fails_is_named_and_the_others_are_kept(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import gpu

    def broken(_):
        raise RuntimeError

    def add(run):
        run.add("graph", "nothing", 1.5, "s")

    monkeypatch.setattr(gpu, "PARTS", {"graph": (add, 9), "metrics": (broken, 9)})
    monkeypatch.setattr(
        gpu,
        "run_part",
        lambda run, names, _: "" if names == ["graph"] and add(run) is None else "stopped",
    )
    monkeypatch.setattr(sys, "argv", ["gpu.py", str(tmp_path)])
    with pytest.raises(SystemExit) as exit_:
        gpu.main()
    assert exit_.value.code == 1
    content = json.loads((tmp_path / "gpu.json").read_text())
    assert [row["what"] for row in content["results"]] == ["nothing"]
    assert content["failures"] == {"metrics": "stopped"}
    assert "metrics failed: stopped" in (tmp_path / "gpu.md").read_text()

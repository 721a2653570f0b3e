"""Files of a run other than checkpoints; an earlier run is never overwritten."""

import json
import os
import shutil
import sys

import pytest
import torch

from config import dump_cfg, load_cfg
from processor.runtime.files import write_json
from processor.runtime.run_folder import RunFolder, environment_record


@pytest.fixture
def used(tmp_path):
    """A folder that holds a run with two epochs."""
    folder = RunFolder(tmp_path / "run")
    folder.write_record(dump_cfg(load_cfg(None, ["SOLVER.SEED", "1"])), {"seed": 1})
    folder.add_metrics({"stage": 1, "epoch": 1, "loss": 2.0})
    folder.add_metrics({"stage": 1, "epoch": 2, "loss": 1.5})
    folder.last.write_bytes(b"weights")
    folder.close()
    return folder


def names(path):
    return sorted(file.name for file in path.iterdir() if "tfevents" not in file.name)


def test_earlier_run_is_moved_to_a_subfolder(used):
    before = {file: (used.path / file).read_bytes() for file in names(used.path)}
    RunFolder(used.path)
    assert [path.name for path in used.path.iterdir()] == ["previous_1"]
    aside = used.path / "previous_1"
    assert {file: (aside / file).read_bytes() for file in names(aside)} == before
    assert any("tfevents" in path.name for path in aside.iterdir())

    (used.path / "config.yml").write_text("second: run")
    RunFolder(used.path)
    assert names(used.path) == ["previous_1", "previous_2"]
    assert (used.path / "previous_2" / "config.yml").read_text() == "second: run"


def test_resumed_run_keeps_its_files(used):
    folder = RunFolder(used.path, resume=True)
    assert [line["epoch"] for line in folder.read_metrics()] == [1, 2]
    assert folder.last.is_file()


def test_other_files_in_the_folder_are_not_moved(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    folder = RunFolder(tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert folder.read_metrics() == []


def test_lines_of_repeated_epochs_are_dropped(used):
    folder = RunFolder(used.path, resume=True)
    folder.keep_metrics(folder.read_metrics()[:1])
    assert folder.read_metrics() == [{"stage": 1, "epoch": 1, "loss": 2.0}]
    assert not any(name.endswith(".partial") for name in names(used.path))


def test_failing_rewrite_of_the_metrics_loses_nothing(used, monkeypatch):
    folder = RunFolder(used.path, resume=True)
    lines = folder.read_metrics()

    def fail(*_arguments, **_options):
        raise OSError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(type(used.path), "replace", fail)
        with pytest.raises(OSError, match="killed"):
            folder.keep_metrics(lines[:1])
    assert folder.read_metrics() == lines


def test_truncated_last_line_is_ignored(used):
    """A power cut in the middle of a line: the epoch is logged again, the rest stays readable."""
    metrics = used.path / "metrics.jsonl"
    metrics.write_text(metrics.read_text()[:-9])
    folder = RunFolder(used.path, resume=True)
    assert folder.read_metrics() == [{"stage": 1, "epoch": 1, "loss": 2.0}]
    folder.keep_metrics(folder.read_metrics())
    folder.add_metrics({"stage": 1, "epoch": 2, "loss": 1.5})
    folder.close()
    assert [line["epoch"] for line in folder.read_metrics()] == [1, 2]


def test_nan_and_infinity_are_never_written(tmp_path):
    folder = RunFolder(tmp_path)
    line = {"stage": 2, "epoch": 1, "loss": float("nan"), "id": float("-inf"), "lr": 0.1}
    folder.add_metrics(line)
    folder.close()
    text = (tmp_path / "metrics.jsonl").read_text()

    def refuse(word):
        raise AssertionError(word)

    read = json.loads(text, parse_constant=refuse)
    assert read == {**line, "loss": None, "id": None}


def test_run_record_holds_command_versions_and_git_hash(tmp_path):
    cfg = load_cfg(None, ["SOLVER.SEED", "5"])
    RunFolder(tmp_path).write_record(
        dump_cfg(cfg), {"seed": 5, "device": "cpu (1 threads)", "data": []}
    )
    assert load_cfg(tmp_path / "config.yml", ["OUTPUT_DIR", ""]).SOLVER.SEED == 5
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["seed"] == 5
    assert record["device"] == "cpu (1 threads)"
    assert record["command"] == sys.argv
    assert record["python"].count(".") == 2
    assert record["packages"]["torch"] == torch.__version__.partition("+")[0]
    assert set(record["packages"]) >= {"torchvision", "timm", "open_clip_torch", "numpy"}
    assert len(record["git"].rstrip("+")) in (40, len("unknown"))


def test_run_record_without_git_says_unknown(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert environment_record()["git"] == "unknown"


def test_tensorboard_gets_the_numbers_of_each_epoch(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = RunFolder(tmp_path)
    folder.add_metrics({"stage": 1, "epoch": 1, "loss": 2.0, "lr": 0.1})
    folder.add_metrics({"stage": 1, "epoch": 2, "loss": 1.5, "lr": 0.2})
    folder.close()
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [(e.step, e.value) for e in events.Scalars("stage1/loss")] == [(1, 2.0), (2, 1.5)]
    assert "stage1/lr" in events.Tags()["scalars"]
    assert "stage1/epoch" not in events.Tags()["scalars"]


def test_failed_json_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "results.json"
    write_json(path, {"mAP": 0.5})
    with pytest.raises(TypeError):
        write_json(path, {"mAP": object()})
    assert json.loads(path.read_text()) == {"mAP": 0.5}
    assert names(tmp_path) == ["results.json"]


def test_path_that_tensorboard_cannot_write_keeps_all_else(tmp_path, caplog):
    path = tmp_path / os.fsdecode(b"\xe9")
    try:
        path.mkdir()
    except OSError:
        pytest.skip("this file system has only UTF-8 names")
    folder = RunFolder(path)
    for epoch in (1, 2):
        folder.add_metrics({"stage": 1, "epoch": epoch, "loss": 2.0})
    folder.close()
    assert [line["epoch"] for line in folder.read_metrics()] == [1, 2]
    assert names(path) == ["metrics.jsonl"]
    assert [record.getMessage()[:18] for record in caplog.records] == ["no TensorBoard file"[:18]]


def test_tensorboard_takes_the_name_of_any_target(tmp_path):
    folder = RunFolder(tmp_path)
    folder.add_metrics({"stage": 2, "epoch": 1, os.fsdecode(b"\xe9/mAP"): 0.5})
    folder.close()
    (file,) = tmp_path.glob("events*")
    assert b"stage2/\\xe9/mAP" in file.read_bytes()


def test_damaged_lines_of_the_metrics_are_left_out_with_a_warning(used, caplog):
    """After a power failure a file may hold zeros."""
    metrics = used.path / "metrics.jsonl"
    lines = metrics.read_bytes().splitlines(keepends=True)
    metrics.write_bytes(lines[0] + bytes(40) + b"\n[1]\n\xff\xfe{\n" + lines[1])
    folder = RunFolder(used.path, resume=True)
    assert [line["epoch"] for line in folder.read_metrics()] == [1, 2]
    assert "metrics.jsonl, line 2 is damaged and left out" in caplog.text


def test_folder_that_is_removed_during_a_run_is_written_anew_with_a_warning(tmp_path, caplog):
    folder = RunFolder(tmp_path / "run")
    folder.write_record("SEED: 1\n", {"seed": 1})
    shutil.rmtree(folder.path)
    folder.path.mkdir()
    folder.add_metrics({"stage": 2, "epoch": 1})
    folder.close()
    assert "was removed or emptied during the run" in caplog.text
    assert (folder.path / "config.yml").read_text() == "SEED: 1\n"
    assert json.loads((folder.path / "run.json").read_text())["seed"] == 1

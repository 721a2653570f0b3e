"""The sub-command `curves`: which folders it reads and what it says when it cannot."""

import argparse
import json

import pytest
from PIL import Image

from processor.tools import curves

LINE = {"stage": 2, "epoch": 1, "loss": 1.0, "accuracy": 0.5, "lr": 0.1}


@pytest.fixture
def runs(tmp_path):
    """Two folders called `run` with one epoch each, the second being written."""
    folders = [tmp_path / name / "run" for name in ("one", "two")]
    for folder, rest in zip(folders, ("", '{"stage": 2'), strict=True):
        folder.mkdir(parents=True)
        (folder / "metrics.jsonl").write_text(json.dumps(LINE) + "\n" + rest)
    return [str(folder) for folder in folders]


def call(*arguments):
    parser = argparse.ArgumentParser()
    curves.add_arguments(parser)
    curves.run(parser.parse_args(arguments))


def test_picture_lies_in_the_first_folder(runs, tmp_path):
    call(*runs)
    with Image.open(tmp_path / "one" / "run" / "curves.png") as picture:
        assert min(picture.size) > 300


def test_output_goes_where_it_is_wanted(runs, tmp_path):
    call(runs[0], "--output", str(tmp_path / "new" / "c.svg"), "--keys", "loss")
    assert "<svg" in (tmp_path / "new" / "c.svg").read_text()
    assert not (tmp_path / "one" / "run" / "curves.png").exists()


def test_runs_are_called_by_folder_or_else_by_path(runs, tmp_path):
    assert list(curves.name_runs(runs)) == runs
    assert list(curves.name_runs([runs[0], str(tmp_path)])) == ["run", tmp_path.name]
    assert list(curves.name_runs([runs[0], runs[0] + "/"])) == ["run"]


def test_errors_name_folder_and_key(runs, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no metrics\.jsonl; name the OUTPUT_DIR"):
        call(str(tmp_path))
    with pytest.raises(ValueError, match=r"--keys mINP: not in metrics\.jsonl; known: stage"):
        call(*runs, "--keys", "loss", "mINP")
    (tmp_path / "metrics.jsonl").write_text('{"stage": 1')
    with pytest.raises(ValueError, match="no epoch is finished yet"):
        call(str(tmp_path))


def test_unknown_kind_of_file_is_refused_before_the_work(runs, capsys):
    with pytest.raises(SystemExit):
        call(*runs, "--output", "curves.bmp")
    assert "'curves.bmp' should end in one of .png, .svg, .pdf" in capsys.readouterr().err

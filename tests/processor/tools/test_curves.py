"""The sub-command `curves`: which folders it reads, epoch 0, means, and its errors."""

import json
from pathlib import Path

import pytest
from PIL import Image

from processor.tools import curves
from run import build_parser

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
    curves.run(build_parser().parse_args(["curves", *arguments]))


def test_figure_is_written_to_the_first_folder(runs, tmp_path):
    call(*runs)
    with Image.open(tmp_path / "one" / "run" / "curves.png") as figure:
        assert min(figure.size) > 300


def test_output_option_names_the_file(runs, tmp_path):
    call(runs[0], "--output", str(tmp_path / "new" / "c.svg"), "--keys", "loss")
    assert "<svg" in (tmp_path / "new" / "c.svg").read_text()
    assert not (tmp_path / "one" / "run" / "curves.png").exists()


SCORES = {"mAP": 0.1, "mINP": 0.05, "cmc": {"1": 0.2, "5": 0.3, "10": 0.4}}
EVALUATED = {**LINE, "epoch": 2, "mAP": 0.5, "rank1": 0.6, "street/mAP": 0.4, "street/rank1": 0.5}


def test_evaluation_before_training_is_epoch_0(runs):
    """It has the keys of an evaluated epoch; a run without it, or without scores, starts at 1."""
    folder = Path(runs[0])
    assert curves.read_run(folder) == [LINE]
    street = {**SCORES, "mAP": 0.15}
    results = {"targets": {"street": street}, "average": SCORES}
    (folder / "results_before_training.json").write_text(json.dumps(results))
    assert curves.read_run(folder) == [LINE]
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(EVALUATED) + "\n")
    first, *rest = curves.read_run(folder)
    assert rest == [LINE, EVALUATED]
    assert first == {
        "stage": 2,
        "epoch": 0,
        "mAP": 0.1,
        "rank1": 0.2,
        "street/mAP": 0.15,
        "street/rank1": 0.2,
    }


@pytest.fixture
def seeds(tmp_path):
    """Two runs that differ in the seed and one with another learning rate."""
    folders = {}
    for name, seed, rate in (("a", 1, 0.1), ("b", 2, 0.1), ("c", 1, 0.2)):
        folder = tmp_path / name
        folder.mkdir()
        solver = {"SEED": seed, "STAGE2": {"BASE_LR": rate, "MAX_EPOCHS": 1}}
        (folder / "config.yml").write_text(json.dumps({"SOLVER": solver, "OUTPUT_DIR": name}))
        (folder / "run.json").write_text(json.dumps({"seed": seed}))
        line = json.dumps({**LINE, "loss": float(seed)})
        (folder / "metrics.jsonl").write_text(f"{line}\n")
        folders[name] = folder
    return folders


def test_mean_is_taken_over_runs_that_differ_only_in_the_seed(seeds, caplog):
    lines = {name: curves.read_run(folder) for name, folder in seeds.items()}
    runs = curves.average_seeds(seeds, lines)
    mean = "mean of a, b; band: smallest to largest"
    assert list(runs) == [mean, "c"]
    assert [line["loss"] for line in runs[mean].lines] == [1.5]
    assert [line["loss"] for line in runs["c"].lines] == [1.0]
    assert "left out" not in caplog.text
    caplog.set_level("INFO")
    longer = {**lines, "b": [*lines["b"], {**LINE, "epoch": 2}]}
    curves.average_seeds(seeds, longer)
    assert f"{mean}: 1 epochs left out that not all runs have" in caplog.text


def test_mean_is_drawn(seeds, tmp_path):
    call(*map(str, seeds.values()), "--mean", "--output", str(tmp_path / "m.svg"))
    assert "<svg" in (tmp_path / "m.svg").read_text()


def test_runs_are_named_after_folders_or_else_paths(runs, tmp_path):
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


def test_unknown_suffix_is_refused_before_reading_runs(runs, capsys):
    with pytest.raises(SystemExit):
        call(*runs, "--output", "curves.bmp")
    assert "'curves.bmp' should end in one of .png, .svg, .pdf" in capsys.readouterr().err

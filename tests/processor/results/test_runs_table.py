"""The table of runs agrees with the files in their folders."""

import csv
import io
import json
import shutil
import statistics

import numpy as np
import pytest
import yaml

from processor.metrics.ranking import RetrievalMetrics
from processor.results.report import EvaluationReport, TargetResult
from processor.results.runs import find_runs
from processor.results.runs_table import group_runs, runs_csv, runs_markdown

EPOCHS = 5
STAGE2 = {"MAX_EPOCHS": EPOCHS, "BASE_LR": 0.1}
PACKAGES = {"torch": "2.15.0", "timm": "1.0.31"}


def result_of(target, mean_ap):
    cmc = np.array([mean_ap + 0.1] * 4 + [0.9] * 5 + [1])
    metrics = RetrievalMetrics(cmc, mean_ap, mean_ap / 2, 10, 9)
    return TargetResult(target, [metrics], (f"note on {target}",), 0, f"{target}-data")


def results_of(mean_aps, checkpoint="last", **changes):
    """results.json of an evaluation with these mAPs on targets a, b, ..."""
    report = EvaluationReport([result_of(*pair) for pair in zip("abc", mean_aps, strict=False)])
    protocol = {"normalized": True, "ignore_same_camera": True, "rerank": None}
    return {
        **report.as_dict(),
        "published_protocol": "",
        "checkpoint": checkpoint,
        "protocol": protocol,
        "neck_feature": "before",
        "training": {"sources": ["market1501"], "use_all": False},
        **changes,
    }


@pytest.fixture
def make_run(tmp_path):
    """`make_run("a", seed=1, mean_aps=(0.5,))` -> a run's folder; no mAPs = unfinished."""

    def make(name, seed=1, mean_aps=(), epoch=EPOCHS, config=None, **record):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        solver = {"SEED": seed, "RESUME": "", "STAGE1": {"MAX_EPOCHS": 3}, "STAGE2": STAGE2}
        tree = {"SOLVER": solver, "OUTPUT_DIR": str(folder), "TEST": {"NECK_FEAT": "before"}}
        for key, value in (config or {}).items():
            tree[key] = {**tree.get(key, {}), **value}
        (folder / "config.yml").write_text(yaml.safe_dump(tree), encoding="utf-8")
        known = {
            "command": ["train.py", "--config_file", "x.yml", "SOLVER.SEED", str(seed)],
            "python": "3.11.7",
            "packages": PACKAGES,
            "git": "abc123",
            "seed": seed,
            "device": "cpu (2 threads)",
            "processes": 1,
            "data": [{"sha256": "11"}],
            "targets": [{"sha256": "22"}],
        }
        (folder / "run.json").write_text(json.dumps(known | record), encoding="utf-8")
        lines = [{"stage": 1, "epoch": 3}, *({"stage": 2, "epoch": e + 1} for e in range(epoch))]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / "metrics.jsonl").write_text(text, encoding="utf-8")
        if mean_aps:
            write_results(folder / "results.json", results_of(mean_aps))
        return folder

    return make


def write_results(path, results):
    path.write_text(json.dumps(results), encoding="utf-8")


def table(*places):
    return runs_markdown(group_runs(find_runs(places)))


def rows(*places):
    """Cells of the Markdown table, without its head."""
    lines = [line for line in table(*places).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def csv_rows(*places):
    return list(csv.DictReader(io.StringIO(runs_csv(group_runs(find_runs(places))))))


# --------------------------------------------------------------------------------------- rows


def test_runs_that_differ_only_in_seed_and_folder_share_a_row(make_run, tmp_path):
    for seed, mean_ap in ((3, 0.50), (1, 0.53), (2, 0.54)):
        make_run(f"seed{seed}", seed, (mean_ap,))
    (row,) = rows(tmp_path)
    # mean of 50, 53, 54; deviation sqrt((5.44 + 0.44 + 2.78) / 2) = 2.08
    assert row[:3] == ["1. seed*", "a", "52.3 ± 2.1"]
    assert row[3] == "62.3 ± 2.1"
    assert row[-2:] == ["1, 2, 3", "cpu (2 threads)"]
    (cells,) = csv_rows(tmp_path)
    assert float(cells["mAP"]) == pytest.approx(statistics.fmean([50, 53, 54]))
    assert float(cells["mAP std"]) == pytest.approx(statistics.stdev([50, 53, 54]))
    assert float(cells["mINP std"]) == pytest.approx(statistics.stdev([25, 26.5, 27]))
    assert cells["seeds"] == "1, 2, 3"


@pytest.mark.parametrize(
    "change",
    [
        {"config": {"TEST": {"NECK_FEAT": "after"}}},
        {"config": {"SOLVER": {"SEED": 2, "STAGE2": STAGE2 | {"BASE_LR": 0.2}}}},
        {"data": [{"sha256": "33"}]},
        {"targets": [{"sha256": "33"}]},
    ],
)
def test_other_options_or_data_make_another_row(make_run, tmp_path, change):
    make_run("one", 1, (0.5,))
    make_run("two", 2, (0.7,), **change)
    assert [row[2] for row in rows(tmp_path)] == ["50.0", "70.0"]


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (["dfgs_s1", "dfgs_s2"], "1. dfgs_s*"),
        (["one", "other"], "1. one, other"),
        (["a/run", "b/run"], "1. run"),
    ],
)
def test_row_of_several_runs_is_not_named_after_one(make_run, tmp_path, names, shown):
    for seed, name in enumerate(names):
        make_run(name, seed, (0.5,))
    assert rows(tmp_path)[0][0] == shown


def test_resumed_run_shares_the_row_of_its_configuration(make_run, tmp_path):
    make_run("one", 1, (0.5,))
    make_run("two", 2, (0.7,), config={"SOLVER": {"SEED": 2, "RESUME": "auto", "STAGE2": STAGE2}})
    assert [row[2][:4] for row in rows(tmp_path)] == ["60.0"]


def test_every_target_and_their_average_have_a_row(make_run, tmp_path):
    make_run("one", 1, (0.4, 0.6))
    make_run("two", 2, (0.5, 0.7))
    assert [row[1:3] for row in rows(tmp_path)] == [
        ["a", "45.0 ± 7.1"],
        ["b", "65.0 ± 7.1"],
        ["average", "55.0 ± 7.1"],
    ]
    assert [cells["target"] for cells in csv_rows(tmp_path)] == ["a", "b", "average"]


def test_deleted_run_leaves_the_table(make_run, tmp_path):
    make_run("one", 1, (0.5,))
    other = make_run("two", 1, (0.7,), config={"TEST": {"NECK_FEAT": "after"}})
    make_run("three", 2, (0.6,))
    assert [row[2] for row in rows(tmp_path)] == ["55.0 ± 7.1", "70.0"]
    shutil.rmtree(other)
    assert [row[2] for row in rows(tmp_path)] == ["55.0 ± 7.1"]
    shutil.rmtree(tmp_path / "three")
    assert [row[2] for row in rows(tmp_path)] == ["50.0"]


# ------------------------------------------------------------------------------ unfinished runs


def test_unfinished_run_shows_its_progress(make_run, tmp_path):
    make_run("one", 7, epoch=2)
    (row,) = rows(tmp_path)
    assert row[:2] == ["1. one", "not finished: stage 2, epoch 2 of 5"]
    assert row[2:-2] == [""] * 5
    assert row[-2] == "7"
    (cells,) = csv_rows(tmp_path)
    assert cells["mAP"] == cells["seeds"] == ""
    assert cells["not finished"].endswith("one (seed 7): stage 2, epoch 2 of 5")


def test_unfinished_seed_is_not_averaged(make_run, tmp_path):
    make_run("one", 1, (0.5,))
    make_run("two", 2, epoch=2)
    (row,) = rows(tmp_path)
    assert row[2] == "50.0"
    assert row[-2] == "1 (1 more not finished)"
    assert "not finished: " in table(tmp_path)
    assert "two (seed 2): stage 2, epoch 2 of 5" in table(tmp_path)


def test_results_of_a_run_resumed_for_more_epochs_do_not_count(make_run, tmp_path):
    """The run is at epoch 3 of 5 and results.json is from the 2 epochs before it was resumed."""
    make_run("one", 1, (0.5,), epoch=3)
    assert rows(tmp_path)[0][1] == "not finished: stage 2, epoch 3 of 5"


def test_run_without_a_finished_epoch_says_so(make_run, tmp_path):
    folder = make_run("one")
    (folder / "metrics.jsonl").unlink()
    assert rows(tmp_path)[0][1] == "not finished: no epoch finished"
    (folder / "metrics.jsonl").write_text('{"stage": 1, "epoch": 1}\n{"stage": 1, "ep')
    assert rows(tmp_path)[0][1] == "not finished: stage 1, epoch 1 of 3"


def test_training_without_labels_ends_at_the_epochs_of_stage_2(make_run, tmp_path):
    folder = make_run("one", 1, (0.5,), epoch=0)
    (folder / "metrics.jsonl").write_text('{"stage": "dsgl", "epoch": 3}\n')
    assert rows(tmp_path)[0][1] == "not finished: stage dsgl, epoch 3 of 5"
    (folder / "metrics.jsonl").write_text('{"stage": "dsgl", "epoch": 5}\n')
    assert rows(tmp_path)[0][2] == "50.0"


# -------------------------------------------------------------------------------------- folders


def test_later_evaluations_do_not_replace_the_last_epochs_results(make_run, tmp_path):
    """Neither those of this version nor those of earlier ones, which took the name results.json."""
    folder = make_run("one", 1, (0.5,))
    (folder / "results.json").rename(folder / "results_1.json")
    write_results(folder / "results_2.json", results_of((0.9,), checkpoint="best.pth"))
    write_results(folder / "results.json", results_of((0.8,), checkpoint="last.pth"))
    write_results(folder / "results_before_training.json", results_of((0.1,)))
    write_results(folder / "results_last_on_a.json", results_of((0.2,), checkpoint="last.pth"))
    found = [(row[1], row[2]) for row in rows(tmp_path)]
    assert found == [("a, before training", "10.0"), ("a", "50.0")]


def test_set_aside_runs_count_only_if_their_folder_is_given(make_run, tmp_path):
    make_run("one", 1, (0.5,))
    old = make_run("one/previous_1", 1, (0.7,))
    make_run("deep/er/two", 2, (0.6,))
    assert [row[2] for row in rows(tmp_path)] == ["55.0 ± 7.1"]
    assert [row[2] for row in rows(old)] == ["70.0"]


def test_run_given_twice_counts_once(make_run, tmp_path):
    folder = make_run("one", 1, (0.5,))
    assert [row[2] for row in rows(folder, tmp_path)] == ["50.0"]


def test_folder_without_runs_raises(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"no run in .*: a training run's folder contains run.json"
    ):
        find_runs([tmp_path])


@pytest.mark.parametrize(
    ("name", "text"),
    [("run.json", "{"), ("config.yml", ""), ("config.yml", "a: ["), ("results.json", "nothing")],
)
def test_damaged_file_raises_and_names_the_run(make_run, tmp_path, name, text):
    folder = make_run("one", 1, (0.5,))
    (folder / name).write_text(text)
    with pytest.raises(ValueError, match=r"one: a file of this run is damaged"):
        find_runs([tmp_path])


# --------------------------------------------------------------------------------------- remarks


def test_table_has_command_environment_scoring_and_data(make_run, tmp_path):
    command = ["train.py", "DATASETS.TARGETS", "('a', 'b')", "OUTPUT_DIR", "my runs"]
    make_run("one", 1, (0.5,), command=command)
    make_run("two", 2, (0.7,), device="cuda:0 (H200)", processes=4, git="def456+")
    lines = table(tmp_path).splitlines()
    for line in (
        """1. `python train.py DATASETS.TARGETS "('a', 'b')" OUTPUT_DIR 'my runs'`""",
        "   * hardware: cpu (2 threads); cuda:0 (H200), 4 processes",
        "   * versions: python 3.11.7, torch 2.15.0, timm 1.0.31",
        "   * commit: abc123; def456+",
        "   * trained on: market1501",
        f"   * folders: {(tmp_path / 'one').as_posix()}, {(tmp_path / 'two').as_posix()}",
        "   * a: note on a; data a-data",
    ):
        assert line in lines
    (cells,) = csv_rows(tmp_path)
    assert f"1. `{cells['command']}`" in lines
    assert cells["versions"] == "python 3.11.7, torch 2.15.0, timm 1.0.31"
    assert cells["features"] == "L2-normalized, before the neck"
    assert (cells["notes"], cells["data sha256"]) == ("note on a", "a-data")


def test_folder_names_are_neither_formulas_nor_markdown(make_run, tmp_path):
    make_run("=1+1", mean_aps=(0.5,), command=["train.py", "a`b|c"])
    groups = group_runs(find_runs([tmp_path]))
    (row,) = csv.DictReader(io.StringIO(runs_csv(groups)))
    assert row["mAP"] == "50.0"
    markdown = runs_markdown(groups)
    assert "1. `` python train.py 'a`b|c' ``" in markdown
    make_run("@x|<b>", mean_aps=(0.5,), device="=cmd()", seed=2)
    groups = group_runs(find_runs([tmp_path / "@x|<b>"]))
    (row,) = csv.DictReader(io.StringIO(runs_csv(groups)))
    assert row["hardware"] == "'=cmd()"
    assert "| 1. @x&#124;&lt;b&gt; | a |" in runs_markdown(groups)


def test_damaged_results_before_training_name_the_run(make_run, tmp_path):
    folder = make_run("one", 1, (0.5,))
    (folder / "results_before_training.json").write_text('{"targets"')
    with pytest.raises(ValueError, match=r"one: a file of this run is damaged"):
        rows(tmp_path)


def test_files_of_other_programs_are_not_runs(make_run, tmp_path):
    make_run("mine")
    (tmp_path / "wandb").mkdir()
    (tmp_path / "wandb" / "run.json").write_text("[]")
    assert [run.folder.name for run in find_runs([tmp_path])] == ["mine"]


@pytest.mark.parametrize(
    ("name", "text"),
    [("run.json", "[]"), ("run.json", "{}"), ("results.json", '{"checkpoint": "last"}')],
)
def test_fields_that_are_missing_name_the_run(make_run, tmp_path, name, text):
    make_run("mine")
    (tmp_path / "mine" / name).write_text(text)
    with pytest.raises(ValueError, match=f"mine.*{name}"):
        find_runs([tmp_path])

"""Both stages learn, a run writes all its files, and its checkpoints are self-contained."""

import json
import logging
import math
import re
import shutil

import pytest
import torch

from config import load_cfg
from config.load import load_cfg_text
from datasets.images.build import build_evaluation_loader
from datasets.registry import read_dataset
from datasets.synthetic.render import DatasetSize, render_dataset
from processor.checkpoints import resume
from processor.checkpoints.load import open_model

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def crowd(tmp_path_factory):
    """Enough people to learn from: 40 training identities with 12 images each, 10 to test on."""
    return render_dataset(
        "street",
        tmp_path_factory.mktemp("crowd"),
        DatasetSize(40, 10, num_cameras=3, images_per_camera=4, seed=1),
        size=(64, 32),
        num_workers=1,
    )


@pytest.fixture(scope="session")
def learned(train_in, crowd, people, tmp_path_factory):
    """Folder and report of a run that trains long enough to learn, tested on two data sets."""
    folder = tmp_path_factory.mktemp("learned") / "run"
    report = train_in(
        folder,
        *("DATASETS.ROOT_DIR", str(crowd.parent), "DATASETS.NAMES", crowd.name),
        *("DATASETS.TARGETS", f"('{crowd.name}', '{people}')", "TEST.BEFORE_TRAINING", "True"),
        *("SOLVER.STAGE1.MAX_EPOCHS", "5", "SOLVER.STAGE1.CHECKPOINT_PERIOD", "2"),
        *("SOLVER.STAGE2.MAX_EPOCHS", "30", "SOLVER.STAGE2.BASE_LR", "1e-3"),
        *("SOLVER.STAGE2.WARMUP_ITERS", "3", "SOLVER.STAGE2.STEPS", "(21,)"),
        *("SOLVER.STAGE2.EVAL_PERIOD", "15", "SOLVER.STAGE2.CHECKPOINT_PERIOD", "20"),
        *("MODEL.NO_MARGIN", "True", "INPUT.RE_PROB", "0.2"),
    )
    return folder, report


def metrics_of(folder, stage):
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [line for line in map(json.loads, lines) if line["stage"] == stage]


def results_of(folder, name="results.json"):
    return json.loads((folder / name).read_text(encoding="utf-8"))


# ------------------------------------------------------------------------------------ learning


def test_training_improves_retrieval(learned, crowd):
    folder, report = learned
    before = results_of(folder, "results_before_training.json")["targets"][crowd.name]["mAP"]
    after = report.targets[0].scores()["mAP"]
    # A real run went from 0.124 to 0.597; chance is about 0.11.
    assert before < 0.2
    assert after > 2 * before
    assert after > 0.4


def test_stage_1_learns_prompts(learned):
    losses = [line["loss"] for line in metrics_of(learned[0], 1)]
    assert len(losses) == 5
    # Chance is ln of the batch size for each direction: 2 ln 50 = 7.8 but for repeated labels.
    assert losses[-1] < losses[0] - 0.5


def test_stage_2_losses_decrease(learned):
    lines = metrics_of(learned[0], 2)
    assert len(lines) == 30
    for name in ("id", "triplet", "i2t"):
        assert lines[-1][name] < lines[0][name], name
    assert lines[-1]["accuracy"] > 4 / 40  # four times chance


# ----------------------------------------------------------------------------------- the folder


def test_run_writes_every_file(learned):
    folder, _ = learned
    names = {path.name for path in folder.iterdir()}
    events = {name for name in names if name.startswith("events.out.tfevents")}
    assert len(events) == 1
    assert names - events == {
        "config.yml",
        "run.json",
        "log.txt",
        "metrics.jsonl",
        "results.json",
        "results.md",
        "results_before_training.json",
        "last.pth",
        "best.pth",
        *(f"small_stage1_{epoch}.pth" for epoch in (2, 4, 5)),
        *(f"small_{epoch}.pth" for epoch in (20, 30)),
    }


def test_saved_configuration_loads_again(learned):
    folder, _ = learned
    cfg = load_cfg(folder / "config.yml")
    content = torch.load(folder / "last.pth", weights_only=True)
    assert cfg == load_cfg_text(content["config"])
    assert cfg.SOLVER.STAGE2.MAX_EPOCHS == 30
    assert str(folder) == cfg.OUTPUT_DIR


def test_lines_of_metrics(learned):
    stage1, stage2 = metrics_of(learned[0], 1), metrics_of(learned[0], 2)
    assert [line["epoch"] for line in stage1] == list(range(1, 6))
    assert [line["epoch"] for line in stage2] == list(range(1, 31))
    for line in stage1:
        assert set(line) >= {"loss", "i2t", "t2i", "lr", "images_per_second"}
        assert line["loss"] == pytest.approx(line["i2t"] + line["t2i"])
        assert line["images"] == 480
    for line in stage2:
        assert set(line) >= {"loss", "id", "triplet", "i2t", "lr", "images_per_second", "accuracy"}
        assert line["loss"] == pytest.approx(line["id"] + line["triplet"] + line["i2t"])
        assert line["images"] == 32 * line["batches"]
        assert 0.8 < line["image_coverage"] <= 1
        assert line["bad_images"] == 0
    assert [line["lr"] for line in stage2[:3]] == pytest.approx(
        [1e-3 * (0.01 * (1 - e / 3) + e / 3) for e in (1, 2, 3)]
    )
    assert stage2[-1]["lr"] == pytest.approx(1e-4)
    evaluated = [line["epoch"] for line in stage2 if "mAP" in line]
    assert evaluated == [15, 30]


def test_results_are_those_of_the_last_evaluation(learned, crowd, people):
    folder, report = learned
    results = results_of(folder)
    assert list(results["targets"]) == [crowd.name, people.name]
    last = metrics_of(folder, 2)[-1]
    for target in report.targets:
        entry = results["targets"][target.name]
        assert set(entry) >= {"mAP", "mINP", "cmc", "num_queries", "num_valid_queries", "splits"}
        assert set(entry["cmc"]) == {"1", "5", "10"}
        assert entry["mAP"] == target.scores()["mAP"] == last[f"{target.name}/mAP"]
        assert 0 < entry["mINP"] <= entry["mAP"] <= 1
        assert entry["splits"] == 1
    assert results["targets"][crowd.name]["num_queries"] == 30
    assert results["targets"][crowd.name]["num_valid_queries"] == 30
    assert results["average"]["mAP"] == pytest.approx(last["mAP"])


def test_run_record_describes_the_run(learned, crowd):
    record = json.loads((learned[0] / "run.json").read_text())
    assert record["seed"] == 1234
    assert record["device"].startswith("cpu")
    (data,) = record["data"]
    assert data["name"] == crowd.name
    assert data["train"] == {"ids": 40, "images": 480, "cameras": 3}
    assert len(data["sha256"]) == 64
    assert record["targets"][0]["name"] == crowd.name
    assert "torch" in record["packages"]


def test_log_holds_clip_reids_result_lines(learned):
    log = (learned[0] / "log.txt").read_text(encoding="utf-8")
    results = results_of(learned[0])["targets"]
    for entry in results.values():
        assert f"mAP: {entry['mAP']:.1%}" in log
        assert f"CMC curve, Rank-1  :{entry['cmc']['1']:.1%}" in log
    assert "before training" in log
    assert re.search(r"console:   30/30 .* done$", log, flags=re.MULTILINE)
    assert "stage 2 epoch 30/30 done" in log


def test_every_checkpoint_loads_without_executing_code(learned):
    files = sorted(learned[0].glob("*.pth"))
    assert len(files) == 7
    for file in files:
        content = torch.load(file, weights_only=True)
        assert set(content) - {"training"} == {"format", "model", "config", "meta"}
        assert ("training" in content) == (file.name == "last.pth")
        assert content["meta"]["num_classes"] == 40
        assert content["meta"]["num_cameras"] == 3
        assert all(isinstance(v, str | int | float) for v in content["meta"].values())
        assert all(math.isfinite(t.double().sum()) for t in content["model"].values())


def test_best_checkpoint_is_the_one_with_the_higher_map(learned):
    best = torch.load(learned[0] / "best.pth", weights_only=True)["meta"]
    evaluated = {line["epoch"]: line["mAP"] for line in metrics_of(learned[0], 2) if "mAP" in line}
    assert best["mAP"] == max(evaluated.values()) == evaluated[best["epoch"]]


# ------------------------------------------------------------------------- standing alone


def assert_same_numbers(one, other):
    for name, entry in one["targets"].items():
        for key in ("mAP", "mINP"):
            assert other["targets"][name][key] == pytest.approx(entry[key], abs=1e-6)
        assert other["targets"][name]["cmc"] == pytest.approx(entry["cmc"], abs=1e-6)
        assert other["targets"][name]["num_queries"] == entry["num_queries"]


@pytest.mark.parametrize("with_config", [True, False])
def test_evaluating_last_reproduces_the_results_of_the_run(learned, script, tmp_path, with_config):
    folder, _ = learned
    config = ["--config_file", folder / "config.yml"] if with_config else []
    finished = script(
        "test_clipreid.py", *config, "TEST.WEIGHT", folder / "last.pth", "OUTPUT_DIR", tmp_path
    )
    assert finished.status == 0, finished.output
    assert_same_numbers(results_of(folder), results_of(tmp_path))
    assert results_of(tmp_path)["checkpoint"] == str(folder / "last.pth")


def test_config_file_of_another_architecture_yields_to_the_checkpoint(learned, script, tmp_path):
    """Options that the weights depend on come from the checkpoint; the log says so."""
    folder, _ = learned
    cfg = load_cfg(folder / "config.yml").clone()
    cfg.defrost()
    cfg.MODEL.STRIDE_SIZE, cfg.INPUT.SIZE_TRAIN, cfg.INPUT.SIZE_TEST = [8, 8], [96, 48], [96, 48]
    cfg.MODEL.SIE_CAMERA = True
    (tmp_path / "other.yml").write_text(cfg.dump())
    finished = script(
        "test_clipreid.py",
        *("--config_file", tmp_path / "other.yml"),
        *("TEST.WEIGHT", folder / "last.pth", "OUTPUT_DIR", tmp_path / "out"),
    )
    assert finished.status == 0, finished.output
    assert "MODEL.STRIDE_SIZE: [16, 16] from the checkpoint replaces [8, 8]" in finished.unwrapped
    assert_same_numbers(results_of(folder), results_of(tmp_path / "out"))


def test_typed_options_override_the_checkpoint(learned, script, people, tmp_path):
    """Another target and re-ranking, without a configuration file."""
    folder, _ = learned
    finished = script(
        "test_clipreid.py",
        *("TEST.WEIGHT", folder / "last.pth", "OUTPUT_DIR", tmp_path),
        *("DATASETS.TARGETS", f"('{people}',)", "TEST.RE_RANKING", "True"),
        *("TEST.RE_RANKING_K1", "10", "TEST.RE_RANKING_K2", "3"),
    )
    assert finished.status == 0, finished.output
    results = results_of(tmp_path)
    assert list(results["targets"]) == [people.name]
    plain = results_of(folder)["targets"][people.name]
    assert results["targets"][people.name]["mAP"] != plain["mAP"]


def test_typed_options_need_not_fit_the_defaults(learned, script, tmp_path):
    """The stride is invalid for the default ResNet but fits this ViT; the grid is resized."""
    folder, _ = learned
    finished = script(
        "test_clipreid.py",
        *("TEST.WEIGHT", folder / "last.pth", "OUTPUT_DIR", tmp_path),
        *("MODEL.STRIDE_SIZE", "[12, 12]"),
    )
    assert finished.status == 0, finished.output
    assert "1 reshaped (image_encoder.positional_embedding)" in finished.unwrapped
    assert 0 < results_of(tmp_path)["average"]["mAP"] < 1


def test_evaluating_in_the_run_folder_keeps_the_run_s_results(script, straight, tmp_path):
    shutil.copytree(straight, tmp_path / "run")
    before = results_of(tmp_path / "run")
    finished = script(
        "test_clipreid.py",
        *("TEST.WEIGHT", tmp_path / "run" / "last.pth", "OUTPUT_DIR", tmp_path / "run"),
    )
    assert finished.status == 0, finished.output
    (name,) = before["targets"]
    path = tmp_path / "run" / f"results_last_on_{name}.json"
    assert f"results: {path}\n" in finished.unwrapped
    assert results_of(tmp_path / "run") == before
    assert_same_numbers(before, results_of(tmp_path / "run", path.name))


def test_model_with_overlapping_patches_and_cameras_stands_alone(
    train_in, monkeypatch, people, tmp_path
):
    """Stride 12 and side information: the file alone gives the trained model's features."""
    built = []

    def recording(*arguments):
        built.append(original(*arguments))
        return built[-1]

    original = resume.build_reid_model
    monkeypatch.setattr(resume, "build_reid_model", recording)
    report = train_in(
        tmp_path / "run",
        *("MODEL.STRIDE_SIZE", "[12, 12]", "MODEL.SIE_CAMERA", "True", "MODEL.SIE_COE", "1.0"),
        *("SOLVER.STAGE1.MAX_EPOCHS", "1", "SOLVER.STAGE2.MAX_EPOCHS", "1"),
    )
    trained = built[0].eval()
    loaded = open_model(str(tmp_path / "run" / "small_1.pth"))
    data = read_dataset(people.name, people.parent)
    (batch, *_) = build_evaluation_loader(loaded.cfg, data.query)
    assert loaded.cfg.MODEL.STRIDE_SIZE == [12, 12]
    assert loaded.cameras == {people.name: range(3)}
    assert loaded.model.cv_embed.shape == (3, 64)
    with torch.no_grad():
        for ids in ((batch.camids, batch.viewids), (batch.camids - 9, batch.viewids), ()):
            one = trained.embed(batch.images, *ids)
            other = loaded.model.eval().embed(batch.images, *ids)
            torch.testing.assert_close(one, other, atol=1e-5, rtol=0)
        with_cameras = trained.embed(batch.images, batch.camids, batch.viewids)
        without = trained.embed(batch.images)
        assert not torch.allclose(with_cameras, without, atol=1e-5)
    assert report.average()["mAP"] > 0


# -------------------------------------------------------------------- other ways through


def test_stage_2_starts_from_learned_prompts(straight, train_in, tmp_path):
    """With the prompts of a finished stage 1, stage 2 is the same as without a break."""
    stage1 = straight / "small_stage1_2.pth"
    train_in(tmp_path, "SOLVER.STAGE1.WEIGHT", str(stage1))
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["stage"] for line in lines] == [2, 2]
    expected = torch.load(straight / "last.pth", weights_only=True)["model"]
    found = torch.load(tmp_path / "last.pth", weights_only=True)["model"]
    assert all(torch.equal(found[key], value) for key, value in expected.items())


def test_learned_prompts_in_the_run_folder_itself_are_found(straight, train_in, tmp_path):
    """The earlier run is set aside; the prompts it holds are still found."""
    shutil.copytree(straight, tmp_path / "run")
    train_in(
        tmp_path / "run",
        *("SOLVER.STAGE1.WEIGHT", str(tmp_path / "run" / "small_stage1_2.pth")),
        *("SOLVER.STAGE2.MAX_EPOCHS", "1"),
    )
    assert (tmp_path / "run" / "previous_1" / "last.pth").is_file()
    assert (tmp_path / "run" / "small_1.pth").is_file()


def test_prompts_of_other_identities_are_refused(straight, train_in, crowd, tmp_path):
    with pytest.raises(ValueError, match=r"SOLVER\.STAGE1\.WEIGHT: .* no prompts for these 40"):
        train_in(
            tmp_path,
            *("DATASETS.ROOT_DIR", str(crowd.parent), "DATASETS.NAMES", crowd.name),
            *("SOLVER.STAGE1.WEIGHT", str(straight / "small_stage1_2.pth")),
        )


def test_baseline_script_trains_without_text(script, base_opts, tmp_path):
    finished = script("train.py", *base_opts, "OUTPUT_DIR", tmp_path)
    assert finished.status == 0, finished.output
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["stage"] for line in lines] == [2, 2]
    assert all("i2t" not in line and "id" in line and "triplet" in line for line in lines)
    assert not list(tmp_path.glob("*stage1*"))
    state = torch.load(tmp_path / "last.pth", weights_only=True)["model"]
    assert not [key for key in state if key.startswith(("text_encoder", "prompt_learner"))]
    assert "mAP: " in finished.unwrapped

    again = script("test_clipreid.py", "TEST.WEIGHT", tmp_path / "last.pth", "OUTPUT_DIR", tmp_path)
    assert again.status == 0, again.output
    (evaluated,) = tmp_path.glob("results_last_on_*.json")
    assert_same_numbers(results_of(tmp_path), results_of(tmp_path, evaluated.name))


def test_two_sources_are_joined_and_keep_their_cameras_apart(train_in, crowd, people, tmp_path):
    train_in(
        tmp_path,
        *("DATASETS.ROOT_DIR", "/", "DATASETS.NAMES", f"('{people}', '{crowd}')"),
        *("MODEL.SIE_CAMERA", "True", "SOLVER.STAGE1.MAX_EPOCHS", "1"),
        *("SOLVER.STAGE2.MAX_EPOCHS", "1"),
    )
    meta = torch.load(tmp_path / "last.pth", weights_only=True)["meta"]
    assert (meta["num_classes"], meta["num_cameras"]) == (64, 6)
    assert json.loads(meta["cameras"]) == {people.name: [0, 3], crowd.name: [3, 6]}
    assert set(results_of(tmp_path)["targets"]) == {people.name, crowd.name}


def test_second_run_in_the_same_folder_moves_the_first_one(straight, train_in, tmp_path, caplog):
    shutil.copytree(straight, tmp_path / "run")
    with caplog.at_level(logging.WARNING):
        train_in(tmp_path / "run", "SOLVER.STAGE1.MAX_EPOCHS", "1", "SOLVER.STAGE2.MAX_EPOCHS", "1")
    aside = tmp_path / "run" / "previous_1"
    assert {p.name for p in aside.iterdir()} == {p.name for p in straight.iterdir()}
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 2
    assert "holds an earlier run: moved to" in caplog.text

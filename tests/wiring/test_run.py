"""From SOLVER, MODEL.DEVICE, MODEL.COMPILE and TEST to a whole run of tiny stages."""

import csv
import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from config import ConfigError
from processor import experiment
from processor.checkpoints.load import open_model
from processor.evaluation import build as evaluation_build
from processor.evaluation.build import open_evaluation, prepare_evaluation
from processor.training import build as training_build
from processor.training.trainer import Trainer

RUN = {
    "SOLVER.AMP": "bf16",
    "SOLVER.SEED": 42,
    "SOLVER.STAGE0.MAX_EPOCHS": 1,
    "SOLVER.STAGE1.MAX_EPOCHS": 3,
    "SOLVER.STAGE1.CHECKPOINT_PERIOD": 2,
    "SOLVER.STAGE1.LOG_PERIOD": 3,
    "SOLVER.STAGE1.IMS_PER_BATCH": 8,
    "SOLVER.STAGE2.MAX_EPOCHS": 5,
    "SOLVER.STAGE2.CHECKPOINT_PERIOD": 2,
    "SOLVER.STAGE2.EVAL_PERIOD": 3,
    "SOLVER.STAGE2.LOG_PERIOD": 2,
    "TEST.BEFORE_TRAINING": True,
    "TEST.NECK_FEAT": "before",
}


class StoppedError(Exception):
    """Ends a run where a test has seen enough."""


def stop(*arguments, **named):
    raise StoppedError(arguments, named)


@pytest.fixture(scope="module")
def table(folder, tmp_path_factory):
    """A CSV file: eight identities to train on, six to test, four images of two cameras each."""
    path = tmp_path_factory.mktemp("table") / "own.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "pid", "camid", "split"])
        for i in range(56):
            split = "train" if i < 32 else "query" if i % 4 == 0 else "gallery"
            writer.writerow([folder / f"{i}.png", f"p{i // 4}", i % 2, split])
    return str(path)


@pytest.fixture(scope="module")
def cfg_of(configure, table):
    def load(output, *options):
        return configure({"DATASETS.NAMES": table, "OUTPUT_DIR": str(output)}, *options)

    return load


@pytest.fixture(scope="module")
def finished(cfg_of, tmp_path_factory):
    """Folder of a run of three stages."""
    output = tmp_path_factory.mktemp("run") / "output"
    experiment.train(cfg_of(output, RUN))
    return output


def metrics_of(output):
    return [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]


def test_epochs_of_every_stage(finished):
    epochs = [(line["stage"], line["epoch"]) for line in metrics_of(finished)]
    stage2 = [(2, epoch) for epoch in range(1, 6)]
    assert epochs == [(0, 1), (1, 1), (1, 2), (1, 3), *stage2]


def test_evaluations_are_periodic_and_before_training(finished):
    evaluated = [(line["stage"], line["epoch"]) for line in metrics_of(finished) if "mAP" in line]
    assert evaluated == [(2, 3), (2, 5)]
    assert (finished / "results_before_training.json").is_file()
    results = json.loads((finished / "results.json").read_text())
    assert results["neck_feature"] == "before"
    assert results["number_format"] == "float32"


def test_kept_checkpoints_are_periodic(finished):
    names = {path.name for path in finished.glob("vit_*.pth")}
    stage1, stage2 = ("vit_stage1_2.pth", "vit_stage1_3.pth"), ("vit_2.pth", "vit_4.pth")
    assert names == {"vit_stage0_1.pth", *stage1, *stage2, "vit_5.pth"}


def test_log_lines_are_periodic(finished):
    text = (finished / "log.txt").read_text()
    lines = re.findall(r"stage (\w+) epoch (\d)/\d \[(\d+)/\d+\]", text)
    assert [line for line in lines if line[0] == "1"] == [("1", epoch, "3") for epoch in "123"]
    for stage in "02":
        numbers = [int(at) for found, epoch, at in lines if (found, epoch) == (stage, "1")]
        assert numbers in ([2], [2, 4])  # of three or four batches


def test_number_format_and_seed_of_the_run(finished):
    record = json.loads((finished / "run.json").read_text())
    assert record["number_format"] == {"training": "bfloat16", "evaluation": "float32"}
    assert record["seed"] == 42


def test_log_names_method_seed_and_model(finished):
    text = (finished / "log.txt").read_text()
    assert "CLIP-ReID, stages 0, 1, 2, seed 42;" in text
    assert re.search(r"model    .*vit\.json, .* M parameters, random weights; cpu", text)
    assert "of 8 identities, 2 cameras" in text
    assert "8 identities are very few" in text


SHORT = {"SOLVER.AMP": "off", "SOLVER.STAGE1.MAX_EPOCHS": 1, "SOLVER.STAGE2.MAX_EPOCHS": 1}


def weights_of(output):
    return torch.load(output / "last.pth", weights_only=True)["model"]


DSGL = {
    "DSGL.ENABLED": True,
    "DSGL.POOLING": "avg",
    "DSGL.ITERS": 3,
    "DSGL.K1": 4,
    "DSGL.K2": 1,
    "DSGL.MIN_SAMPLES": 2,
    "DSGL.ORDERS": 1,
}


def test_run_without_labels(cfg_of, tmp_path):
    experiment.train(cfg_of(tmp_path, SHORT, DSGL))
    (line,) = metrics_of(tmp_path)
    assert (line["stage"], line["batches"], line["images"]) == ("dsgl", 3, 24)
    text = (tmp_path / "log.txt").read_text()
    assert "DSGL, stage dsgl, seed 1234;" in text
    assert "32 images without identity labels" in text
    assert "very few" not in text


def test_run_of_a_baseline(cfg_of, tmp_path):
    experiment.train(cfg_of(tmp_path, SHORT, {"MODEL.TEXT_TOWER": False}))
    (line,) = metrics_of(tmp_path)
    assert line["stage"] == 2
    assert "i2t" not in line
    assert "baseline, stage 2, seed 1234;" in (tmp_path / "log.txt").read_text()


def first_losses(cfg_of, folder, seed):
    experiment.train(cfg_of(folder, SHORT, {"SOLVER.SEED": seed}))
    return [line["loss"] for line in metrics_of(folder)]


def test_seed_decides_weights_and_losses(cfg_of, tmp_path):
    one, same, other = (
        first_losses(cfg_of, tmp_path / name, seed)
        for name, seed in (("one", 42), ("same", 42), ("other", 43))
    )
    assert one == same
    assert all(a != b for a, b in zip(one, other, strict=True))
    assert not (tmp_path / "one" / "results_before_training.json").exists()
    a, b = weights_of(tmp_path / "one"), weights_of(tmp_path / "same")
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_seed_of_the_model_and_of_the_epochs(cfg_of, tmp_path, monkeypatch):
    trainers = []
    monkeypatch.setattr(Trainer, "run_stages", lambda trainer, *_: trainers.append(trainer))
    for number, seed in enumerate((42, 42, 43)):
        experiment.train(cfg_of(tmp_path / str(number), SHORT, {"SOLVER.SEED": seed}))
    assert [trainer.seed for trainer in trainers] == [42, 42, 43]
    weights = [trainer.model.image_encoder.conv1.weight for trainer in trainers]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize("shared", [True, False])
def test_optimizer_of_stage_0_goes_on_in_stage_2(cfg_of, tmp_path, shared):
    options = {
        "MODEL.TEXT_TOWER": False,
        "SOLVER.STAGE0.MAX_EPOCHS": 2,
        "SOLVER.STAGE0.SHARE_OPTIMIZER": shared,
    }
    experiment.train(cfg_of(tmp_path, SHORT, options))
    state = torch.load(tmp_path / "last.pth", weights_only=True)["training"]["optimizers"][0]
    batches = [line["batches"] for line in metrics_of(tmp_path)]
    steps = {int(moments["step"]) for moments in state["state"].values()}
    assert max(steps) == (sum(batches) if shared else batches[-1])


def test_optimizer_that_stage_0_has_not_kept_is_missed(cfg_of, tmp_path, monkeypatch):
    """Stage 2 would go on with its schedule, but from another state."""
    three = {"SOLVER.STAGE0.MAX_EPOCHS": 1, "SOLVER.STAGE1.MAX_EPOCHS": 1}
    with monkeypatch.context() as patch:
        patch.setattr(training_build, "build_image_stage", stop)
        with pytest.raises(StoppedError):
            experiment.train(cfg_of(tmp_path, SHORT, three))
    late = {"SOLVER.STAGE0.SHARE_OPTIMIZER": True, "SOLVER.RESUME": "auto"}
    with pytest.raises(ConfigError, match=r"SOLVER\.STAGE0\.SHARE_OPTIMIZER: the run's stage 0"):
        experiment.train(cfg_of(tmp_path, SHORT, three, late))


@pytest.mark.parametrize("method", ["baseline", "dsgl"])
def test_weights_of_the_last_stage_are_averaged(cfg_of, tmp_path, method):
    """With the decay of the option; TEST.EMA takes the average of a checkpoint."""
    options = {"baseline": {"MODEL.TEXT_TOWER": False}, "dsgl": DSGL}[method]
    experiment.train(cfg_of(tmp_path, SHORT, options, {"SOLVER.EMA": 0.25}))
    content = torch.load(tmp_path / "last.pth", weights_only=True)
    name = "image_encoder.conv1.weight"
    last, averaged = content["model"][name], content["ema"][name]
    assert not torch.equal(last, averaged)
    plain, mean = (
        open_model(str(tmp_path / "last.pth"), None, ["TEST.EMA", value]).model.state_dict()[name]
        for value in ("False", "True")
    )
    assert torch.equal(plain, last)
    assert torch.equal(mean, averaged)


def test_number_format_changes_the_losses(cfg_of, tmp_path):
    losses = []
    for mode in ("off", "bf16"):
        folder = tmp_path / mode
        experiment.train(cfg_of(folder, SHORT, {"SOLVER.AMP": mode}))
        losses.append(metrics_of(folder)[0]["loss"])
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)


def test_run_starts_from_learned_prompts(cfg_of, finished, tmp_path):
    prompts = finished / "vit_stage1_3.pth"
    given = {"SOLVER.STAGE1.WEIGHT": str(prompts), "SOLVER.STAGE2.BASE_LR": 0}
    experiment.train(cfg_of(tmp_path / "output", SHORT, given))
    assert [line["stage"] for line in metrics_of(tmp_path / "output")] == [2]
    name = "prompt_learner.cls_ctx"
    stored = torch.load(prompts, weights_only=True)["model"][name]
    assert torch.equal(weights_of(tmp_path / "output")[name], stored)


# -------------------------------------------------------------------------------------------- data


def test_data_sets_protocol_and_plugins_of_a_run(cfg_of, table, tmp_path):
    """Sources below ROOT_DIR, with all their images; another target; a plug-in."""
    (tmp_path / "sources").mkdir()
    shutil.copy(table, tmp_path / "sources" / "own.csv")
    lines = ["path,pid,camid,split"]
    for i in range(8):
        Image.new("RGB", (20, 40), (30 * i, 200, 90)).save(tmp_path / f"{i}.png")
        lines.append(
            f"{tmp_path / f'{i}.png'},new{i // 4},{i % 2},{'query' if i % 4 else 'gallery'}"
        )
    (tmp_path / "target.csv").write_text("\n".join(lines))
    (tmp_path / "plugin.py").write_text('"""Nothing."""\n')
    options = {
        "DATASETS.ROOT_DIR": str(tmp_path / "sources"),
        "DATASETS.NAMES": "own.csv",
        "DATASETS.TARGETS": str(tmp_path / "target.csv"),
        "DATASETS.USE_ALL": True,
        "DATASETS.PROTOCOL": "P7",
        "PLUGINS": str(tmp_path / "plugin.py"),
    }
    output = tmp_path / "output"
    experiment.train(cfg_of(output, SHORT, {"MODEL.TEXT_TOWER": False}, options))
    results = json.loads((output / "results.json").read_text())
    assert list(results["targets"]) == ["target"]
    assert results["training"] == {"sources": ["own"], "use_all": True}
    assert results["published_protocol"] == "P7"
    assert "all images of own: 56 images of 14 identities" in (output / "log.txt").read_text()
    record = json.loads((output / "run.json").read_text())
    assert [Path(plugin["path"]).name for plugin in record["plugins"]] == ["plugin.py"]
    opened = open_evaluation(str(output / "last.pth"), [], [])
    assert [target.name for target in opened.evaluator.targets] == ["target"]


# ------------------------------------------------------------------------------------------ resume


@pytest.mark.parametrize("wanted", ["auto", "path", ""])
def test_stopped_run_is_resumed(cfg_of, finished, tmp_path, monkeypatch, wanted):
    """`auto` looks in OUTPUT_DIR."""
    output = finished if wanted == "auto" else tmp_path / "output"
    path = str(finished / "last.pth") if wanted == "path" else wanted
    seen = {}

    def run_stages(trainer, stages, state):
        del trainer, stages
        seen.update(state)
        raise StoppedError

    monkeypatch.setattr(Trainer, "run_stages", run_stages)
    monkeypatch.setattr(Trainer, "evaluate_before_training", lambda _: None)
    with pytest.raises(StoppedError):
        experiment.train(cfg_of(output, RUN, {"SOLVER.RESUME": path}))
    assert [seen.get(name) for name in ("stage", "epoch")] == ([2, 5] if wanted else [None, None])


@pytest.mark.parametrize("allowed", [True, False])
def test_changed_images_stop_a_resumed_run_unless_allowed(
    cfg_of, finished, table, tmp_path, monkeypatch, allowed
):
    lines = Path(table).read_text().splitlines(keepends=True)
    changed = tmp_path / "own.csv"
    changed.write_text("".join([*lines[:5], *lines[6:]]))
    options = {
        "DATASETS.NAMES": str(changed),
        "SOLVER.RESUME": str(finished / "last.pth"),
        "SOLVER.RESUME_CHANGED_DATA": allowed,
    }
    monkeypatch.setattr(Trainer, "run_stages", stop)
    with pytest.raises(StoppedError if allowed else ConfigError):
        experiment.train(cfg_of(tmp_path / "output", RUN, options))


# ------------------------------------------------------------------------------------------ device


@pytest.mark.parametrize(("name", "number"), [("cpu", "0"), ("cuda", "3"), ("auto", "1")])
def test_device_of_training(cfg_of, tmp_path, monkeypatch, name, number):
    monkeypatch.setattr(experiment, "choose_device", stop)
    options = {"MODEL.DEVICE": name, "MODEL.DEVICE_ID": number}
    with pytest.raises(StoppedError) as raised:
        experiment.train(cfg_of(tmp_path / "output", SHORT, options))
    assert raised.value.args[0] == (name, number)


@pytest.mark.parametrize(("name", "number"), [("cpu", "0"), ("cuda", "3")])
def test_device_of_evaluation(finished, monkeypatch, name, number):
    loaded = open_model(
        str(finished / "last.pth"), None, ["MODEL.DEVICE", name, "MODEL.DEVICE_ID", number]
    )
    monkeypatch.setattr(evaluation_build, "choose_device", stop)
    with pytest.raises(StoppedError) as raised:
        prepare_evaluation(loaded)
    assert raised.value.args[0] == (name, number)


@pytest.mark.parametrize("compiled", [True, False])
def test_encoder_is_compiled(cfg_of, finished, tmp_path, monkeypatch, compiled):
    seen = []
    for module in (experiment, evaluation_build):
        monkeypatch.setattr(module, "compile_encoder", seen.append)
    monkeypatch.setattr(Trainer, "run_stages", stop)
    with pytest.raises(StoppedError):
        experiment.train(cfg_of(tmp_path / "output", SHORT, {"MODEL.COMPILE": compiled}))
    assert len(seen) == compiled
    opts = ["MODEL.COMPILE", str(compiled)]
    opened = prepare_evaluation(open_model(str(finished / "last.pth"), None, opts))
    assert len(seen) == 2 * compiled
    assert opened.evaluator.targets


@pytest.mark.parametrize("wanted", [True, False])
def test_deterministic_kernels(cfg_of, tmp_path, monkeypatch, wanted):
    seen = []
    monkeypatch.setattr(experiment, "use_deterministic_kernels", lambda: seen.append(1))
    monkeypatch.setattr(experiment, "choose_device", stop)
    with pytest.raises(StoppedError):
        experiment.train(cfg_of(tmp_path / "output", SHORT, {"SOLVER.DETERMINISTIC": wanted}))
    assert len(seen) == wanted


def test_checkpoint_to_evaluate(cfg_of, finished, tmp_path):
    """TEST.WEIGHT in a configuration file names it."""
    file = tmp_path / "test.yml"
    options = {"TEST.WEIGHT": str(finished / "vit_2.pth")}
    file.write_text(cfg_of(tmp_path / "output", RUN, options).dump())
    report = experiment.evaluate(str(file))
    assert 0 < report.average()["mAP"] <= 1
    (results,) = (tmp_path / "output").glob("results*.json")
    assert json.loads(results.read_text())["checkpoint"] == str(finished / "vit_2.pth")

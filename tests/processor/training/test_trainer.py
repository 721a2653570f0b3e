"""Both stages against the original's training run, and the epochs of a run: save, log, resume."""

import json
import logging
import zlib

import numpy as np
import pytest
import torch

from config import dump_cfg, load_cfg
from datasets.records import Batch, Sample
from datasets.sources import TrainingSet
from loss import build_image_losses
from model import build_model
from processor.features import FeatureTable
from processor.metrics.ranking import RetrievalMetrics
from processor.results.report import EvaluationReport, TargetResult
from processor.runtime.precision import Precision
from processor.runtime.run_folder import RunFolder
from processor.runtime.signals import Interrupted, StopRequest
from processor.training.epoch import EpochMeters, train_epoch
from processor.training.image_stage import (
    ImageStage,
    ImagesToLosses,
    all_text_features,
    freeze_text_side,
)
from processor.training.non_finite import NonFiniteLossError
from processor.training.prompt_stage import PromptStage, freeze_all_but_prompts
from processor.training.saving import SavingTimes
from processor.training.stage import Optimization, StageTiming
from processor.training.trainer import Trainer, _load_optimizers
from solver.build import (
    build_image_optimizer,
    build_image_schedule,
    build_prompt_optimizer,
    build_prompt_schedule,
)

CPU = torch.device("cpu")
FLOAT32 = Precision(None, CPU)


# ------------------------------------------------------------------ the original's training run


def filled(key, shape):
    """The golden arrays' start value of a parameter: drawn by its name, cut to bfloat16."""
    last = key.rsplit(".", 1)[-1]
    if last == "num_batches_tracked":
        return torch.tensor(0)
    rng = np.random.Generator(np.random.PCG64(zlib.crc32(key.encode()) ^ 7))
    x = rng.standard_normal(shape, np.float32)
    if last == "running_var":
        x = 1 + 0.2 * np.abs(x)
    elif last == "running_mean":
        x = 0.1 * x
    elif "cls_ctx" in key:
        x = 0.05 * x
    elif len(shape) == 2:
        x = (0.7 * x) * shape[1] ** -0.5
    elif last == "weight":
        x = 1 + 0.1 * x
    else:
        x = 0.05 * x
    bits = np.asarray(x, np.float32).view(np.uint32) & 0xFFFF0000
    return torch.from_numpy(bits.view(np.float32))


class StoredBatches:
    """The image stage's loader, with the batches of the stored run."""

    def __init__(self, data, batches_per_epoch):
        images = torch.from_numpy(data["images_u8"]).float()
        self.images = (images / 255 - 0.5) / 0.5
        self.labels = torch.from_numpy(data["pids"])
        self.cameras = torch.from_numpy(data["cams"])
        self.stored = torch.from_numpy(data["stage2_batches"])
        self.batches_per_epoch = batches_per_epoch
        self.batch_sampler = self.sampler = self
        self.stats = {}

    def set_epoch(self, epoch, first_batch=0):
        start = (epoch - 1) * self.batches_per_epoch
        self.rows = self.stored[start + first_batch : start + self.batches_per_epoch]

    def __len__(self):
        return len(self.rows)

    def __iter__(self):
        for row in self.rows:
            cameras = self.cameras[row]
            yield Batch(self.images[row], self.labels[row], cameras, torch.zeros_like(row), row)


def train_and_record(stage, num_epochs):
    """Every step's summed loss and shares, and every epoch's rates."""
    steps, rates = [], []
    compute = stage.compute_losses

    def recording(batch):
        result = compute(batch)
        total = sum(loss.item() for loss in result.losses.values())
        steps.append((total, {name: value.item() for name, value in result.averages.items()}))
        return result

    stage.compute_losses = recording
    for epoch in range(1, num_epochs + 1):
        stage.optimization.schedule.step(epoch)
        groups = stage.optimization.optimizers[0].param_groups
        rates.append({group["name"]: group["lr"] for group in groups})
        assert train_epoch(stage, epoch, EpochMeters(), FLOAT32, StopRequest())
    return steps, rates


@pytest.fixture(scope="module")
def run(golden, tiny_clip_json, tiny_clip_file):
    """The two-stage run of train_data.npz, by this project's stages, losses and optimizers."""
    cfg = load_cfg(
        None,
        [
            *("MODEL.NAME", tiny_clip_json, "MODEL.PRETRAIN_PATH", tiny_clip_file),
            *("INPUT.SIZE_TRAIN", "[64, 32]", "INPUT.SIZE_TEST", "[64, 32]"),
            *("MODEL.ID_LOSS_WEIGHT", "0.25", "TEST.NECK_FEAT", "before"),
            *("DATALOADER.SAMPLER", "softmax_triplet", "DATALOADER.NUM_INSTANCE", "4"),
            *("SOLVER.STAGE1.BASE_LR", "0.01", "SOLVER.STAGE1.WEIGHT_DECAY", "1e-4"),
            *("SOLVER.STAGE1.MAX_EPOCHS", "3", "SOLVER.STAGE1.LR_MIN", "1e-5"),
            *("SOLVER.STAGE1.WARMUP_EPOCHS", "2", "SOLVER.STAGE1.WARMUP_LR_INIT", "0.002"),
            *("SOLVER.STAGE2.IMS_PER_BATCH", "16", "SOLVER.STAGE2.BASE_LR", "1e-4"),
            *("SOLVER.STAGE2.BIAS_LR_FACTOR", "2", "SOLVER.STAGE2.WEIGHT_DECAY", "1e-4"),
            *("SOLVER.STAGE2.WEIGHT_DECAY_BIAS", "1e-4", "SOLVER.STAGE2.STEPS", "(30, 50)"),
            *("SOLVER.STAGE2.WARMUP_ITERS", "4", "SOLVER.STAGE2.WARMUP_FACTOR", "0.1"),
        ],
    )
    data = golden("train_data")
    model = build_model(cfg, num_classes=8, num_cameras=4, num_views=1)
    own = {
        key: filled(key, tuple(value.shape))
        for key, value in model.state_dict().items()
        if key.startswith(("classifier", "bottleneck")) or key.endswith("cls_ctx")
    }
    model.load_state_dict(own, strict=False)
    loader = StoredBatches(data, batches_per_epoch=5)
    result = {}

    freeze_all_but_prompts(model)
    order = torch.from_numpy(data["stage1_loader_order"])
    with torch.no_grad():
        features = model.eval().encode_image(loader.images[order]).projected
    prompts, _ = model.text_parts()
    optimizer = build_prompt_optimizer(cfg, prompts.cls_ctx)
    stage1 = PromptStage(
        model,
        FeatureTable(features, order),
        [Sample(f"{i}.jpg", int(pid), 0) for i, pid in enumerate(data["pids"])],
        data["pids"].tolist(),
        Optimization([optimizer], build_prompt_schedule(cfg, optimizer), StageTiming(3, 100, 100)),
        20,
    )
    permutations = iter(torch.from_numpy(data["stage1_perms"]))
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(torch, "randperm", lambda _n: next(permutations))
        result["steps1"], result["rates1"] = train_and_record(stage1, 3)
    result["cls_ctx"] = prompts.cls_ctx.detach().clone()

    freeze_text_side(model)
    texts = all_text_features(model, batch_size=3)
    result["texts"] = texts
    optimizer = build_image_optimizer(cfg, model)
    stage2 = ImageStage(
        ImagesToLosses(
            model, build_image_losses(cfg, 8, 128, with_text=True, joint_width=64), texts
        ),
        loader,
        TrainingSet(
            [Sample(f"{i}.jpg", 0, 0) for i in range(64)], [0] * 64, [0] * 64, 8, 4, 1, ("x",), (0,)
        ),
        Optimization([optimizer], build_image_schedule(cfg, optimizer), StageTiming(2, 100, 100)),
    )
    result["steps2"], result["rates2"] = train_and_record(stage2, 2)
    result["state"] = {key: value.clone() for key, value in model.state_dict().items()}
    with torch.no_grad():
        result["features"] = model.eval().embed(loader.images[:8])
    return result


@pytest.fixture
def stored(golden):
    return golden("train_vit")


def test_stage_1_losses_equal_the_original(run, stored):
    losses = [loss for loss, _ in run["steps1"]]
    assert len(losses) == 12  # 20, 20, 20, 4: the last, partial batch is kept
    np.testing.assert_allclose(losses, stored["stage1/losses"], atol=2e-4, rtol=0)


def test_stage_1_learning_rates_equal_the_original(run, stored):
    rates = [groups["weights"] for groups in run["rates1"]]
    np.testing.assert_allclose(rates, stored["stage1/lr_per_epoch"], rtol=1e-12)


def test_stage_1_prompts_and_text_features_equal_the_original(run, stored):
    # Adam moves every entry by up to the rate, so 1e-4 is a hundredth of one step.
    np.testing.assert_allclose(run["cls_ctx"].numpy(), stored["stage1/cls_ctx_final"], atol=1e-4)
    np.testing.assert_allclose(
        run["texts"].numpy(), stored["stage1/text_features_after"], atol=1e-4
    )


def test_stage_2_losses_equal_the_original(run, stored):
    losses = [loss for loss, _ in run["steps2"]]
    np.testing.assert_allclose(losses, stored["stage2/losses"], atol=2e-4, rtol=0)


def test_stage_2_accuracy_is_of_the_image_to_text_logits(run, stored):
    accuracies = [shares["accuracy"] for _, shares in run["steps2"]]
    np.testing.assert_allclose(accuracies, stored["stage2/i2t_acc"], atol=1e-6)


def test_stage_2_learning_rates_equal_the_original(run, stored):
    rates = [groups["weights"] for groups in run["rates2"]]
    np.testing.assert_allclose(rates, stored["stage2/lr_per_epoch"], rtol=1e-12)
    assert [g["biases"] for g in run["rates2"]] == pytest.approx([2 * rate for rate in rates])


def test_final_norm_of_every_tensor_equals_the_original(run, stored):
    keys = [str(key) for key in stored["final/keys"]]
    assert list(run["state"]) == keys
    norms = [run["state"][key].double().norm().item() for key in keys]
    np.testing.assert_allclose(norms, stored["final/norms"], rtol=1e-5)


def test_final_sum_of_every_tensor_equals_the_original(run, stored):
    # Where tensors cancel to a small sum, the scale of rounding is that of their norm.
    for key, total, norm in zip(
        stored["final/keys"], stored["final/sums"], stored["final/norms"], strict=True
    ):
        tensor = run["state"][str(key)].double()
        assert tensor.sum().item() == pytest.approx(total, abs=2e-5 * norm * tensor.numel() ** 0.5)


def test_final_tensors_equal_the_original(run, stored):
    names = [key for key in stored if key.startswith("final/") and f"{key[6:]}" in run["state"]]
    assert len(names) == 7
    for name in names:
        tensor = run["state"][name.removeprefix("final/")]
        np.testing.assert_allclose(tensor.numpy(), stored[name], atol=1e-4)


def test_final_evaluation_features_equal_the_original(run, stored):
    features = run["features"].numpy()
    np.testing.assert_allclose(features, stored["final/eval_features_first8"], atol=1e-4)


# ------------------------------------------------------------------------- epochs of any stage


class Scores:
    """An evaluation that gives one mAP after the other."""

    def __init__(self, *values):
        self.values = list(values)
        self.calls = 0

    def __call__(self):
        mean = self.values[min(self.calls, len(self.values) - 1)]
        self.calls += 1
        metrics = RetrievalMetrics(np.full(50, mean), mean, mean, 3, 3)
        return EvaluationReport([TargetResult("toys", [metrics])])


def training(path, stage, *, stop=None, evaluate=None, resume=False, opts=()):
    return Trainer(
        model=stage.model,
        folder=RunFolder(path, resume=resume),
        precision=FLOAT32,
        stop=stop or StopRequest(),
        model_name=load_cfg(None, [*opts]).MODEL.NAME,
        config_text=dump_cfg(load_cfg(None, [*opts])),
        meta={"num_classes": 3},
        seed=11,
        evaluate=evaluate or Scores(0.5),
    )


def metrics_of(path):
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def without_timing(lines):
    timing = ("seconds", "images_per_second", "plan_seconds")
    return [{key: value for key, value in line.items() if key not in timing} for line in lines]


def last_of(path):
    return torch.load(path / "last.pth", weights_only=True)


def test_lines_of_metrics(tmp_path, toy_stage):
    stage = toy_stage(sizes=(4,), timing=StageTiming(3, 10, 2, 2))
    training(tmp_path, stage, evaluate=Scores(0.25)).run(stage)
    lines = metrics_of(tmp_path)
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    first = lines[0]
    assert first["stage"] == 2
    assert first["loss"] == pytest.approx(7.5)  # w = 0, x = 1..4: mean of 1, 4, 9, 16
    assert first["loss"] == pytest.approx(first["half"] + first["rest"])
    assert first["accuracy"] == 0.5
    assert [line["lr"] for line in lines] == pytest.approx([0.1, 0.1, 0.01])
    assert first["images_per_second"] > 0
    assert (first["images"], first["bad_images"], first["batches"]) == (4, 0, 1)
    assert "mAP" not in first
    for line in lines[1:]:  # epoch 2 by the period, epoch 3 because it is the last
        assert line["mAP"] == line["mINP"] == line["rank1"] == line["rank5"] == 0.25


def test_run_writes_its_files(tmp_path, toy_stage):
    stage = toy_stage(timing=StageTiming(5, 10, 2, 5))
    training(tmp_path, stage, opts=["MODEL.NAME", "ViT-B-16"]).run(stage)
    names = {path.name for path in tmp_path.iterdir()}
    tensorboard = {name for name in names if name.startswith("events.out.tfevents")}
    assert len(tensorboard) == 1
    kept = {f"ViT-B-16_{epoch}.pth" for epoch in (2, 4, 5)}
    assert names - tensorboard == {"metrics.jsonl", "last.pth", "best.pth", *kept}
    assert "training" in last_of(tmp_path)
    assert "training" not in torch.load(tmp_path / "ViT-B-16_5.pth", weights_only=True)


def test_file_names_of_a_json_model_and_of_stage_1(tmp_path, toy_stage, tiny_clip_json):
    stage = toy_stage(name=1, timing=StageTiming(1, 10, 10))
    opts = ["MODEL.NAME", tiny_clip_json, "INPUT.SIZE_TRAIN", "[64, 32]"]
    training(tmp_path, stage, opts=[*opts, "INPUT.SIZE_TEST", "[64, 32]"]).run(stage)
    assert (tmp_path / "tiny_vit_stage1_1.pth").is_file()
    assert not (tmp_path / "best.pth").exists()  # a stage that is not evaluated has no best
    assert "mAP" not in metrics_of(tmp_path)[0]


def test_best_is_the_checkpoint_with_the_highest_map(tmp_path, toy_stage):
    stage = toy_stage(timing=StageTiming(4, 10, 10, 1))
    training(tmp_path, stage, evaluate=Scores(0.3, 0.6, 0.6, 0.2)).run(stage)
    best = torch.load(tmp_path / "best.pth", weights_only=True)
    assert best["meta"]["epoch"] == 2  # the first of two equal ones
    assert best["meta"]["mAP"] == 0.6
    assert best["meta"]["num_classes"] == 3
    assert last_of(tmp_path)["meta"]["epoch"] == 4


@pytest.mark.parametrize("stopped_after", range(9))
def test_stopped_and_resumed_run_equals_a_straight_one(
    tmp_path, toy_stage, stop_after, stopped_after
):
    """Three epochs of three batches, stopped before every one of the nine."""
    straight = toy_stage(noise=1.0)
    scores = Scores(0.2, 0.4, 0.3)
    training(tmp_path / "a", straight, evaluate=scores).run(straight)

    stage = toy_stage(noise=1.0)
    stopped = training(
        tmp_path / "b", stage, evaluate=Scores(0.2, 0.4, 0.3), stop=stop_after(stopped_after)
    )
    with pytest.raises(Interrupted):
        stopped.run(stage)
    saved = last_of(tmp_path / "b")
    assert saved["training"]["stage"] == 2
    assert saved["training"]["epoch"] == stopped_after // 3 + 1
    assert saved["training"]["finished"] is False

    again = toy_stage(noise=1.0)
    again.model.load_state_dict(saved["model"])
    left = Scores(*(0.2, 0.4, 0.3)[stopped_after // 3 :])
    training(tmp_path / "b", again, evaluate=left, resume=True).run(again, saved["training"])
    assert torch.equal(again.model.weight, straight.model.weight)
    assert again.extra == straight.extra == 9
    assert without_timing(metrics_of(tmp_path / "b")) == without_timing(metrics_of(tmp_path / "a"))
    best_a, best_b = (torch.load(tmp_path / d / "best.pth", weights_only=True) for d in "ab")
    assert best_a["meta"] == best_b["meta"]
    assert torch.equal(best_a["model"]["weight"], best_b["model"]["weight"])


@pytest.mark.parametrize("lost", ["evaluation", "metrics line"])
def test_run_killed_between_saving_and_logging_an_epoch_resumes(tmp_path, toy_stage, lost):
    """last.pth says epoch 2 is finished, but it was killed before the epoch was closed."""
    straight = toy_stage(noise=1.0)
    training(tmp_path / "a", straight).run(straight)

    class Killed(Exception):  # noqa: N818 - stands for a signal
        pass

    stage = toy_stage(noise=1.0)
    run = training(tmp_path / "b", stage)
    calls = []

    def killed_in_epoch_2(*_arguments):
        calls.append(1)
        if len(calls) == 2:
            raise Killed
        return original(*_arguments)

    if lost == "evaluation":
        original, run.evaluate = run.evaluate, killed_in_epoch_2
    else:
        original, run.folder.add_metrics = run.folder.add_metrics, killed_in_epoch_2
    with pytest.raises(Killed):
        run.run(stage)
    assert [line["epoch"] for line in metrics_of(tmp_path / "b")] == [1]

    saved = last_of(tmp_path / "b")
    again = toy_stage(noise=1.0)
    again.model.load_state_dict(saved["model"])
    training(tmp_path / "b", again, resume=True).run(again, saved["training"])
    assert torch.equal(again.model.weight, straight.model.weight)
    assert without_timing(metrics_of(tmp_path / "b")) == without_timing(metrics_of(tmp_path / "a"))
    kept = {path.name for path in (tmp_path / "a").glob("*.pth")}
    assert {path.name for path in (tmp_path / "b").glob("*.pth")} == kept


def test_run_killed_in_the_middle_of_an_epoch_repeats_it(tmp_path, toy_stage):
    """Metrics of epochs after the one in last.pth are written again, never twice."""
    straight = toy_stage(noise=1.0)
    training(tmp_path / "a", straight).run(straight)

    stage = toy_stage(noise=1.0)
    training(tmp_path / "b", stage).run(stage)
    rest = toy_stage(noise=1.0, timing=StageTiming(1, 2, 2, 1))
    training(tmp_path / "c", rest).run(rest)
    saved = last_of(tmp_path / "c")  # of epoch 1, in a folder that has lines up to epoch 3
    (tmp_path / "b" / "last.pth").unlink()

    again = toy_stage(noise=1.0)
    again.model.load_state_dict(saved["model"])
    training(tmp_path / "b", again, resume=True).run(again, saved["training"])
    assert torch.equal(again.model.weight, straight.model.weight)
    assert without_timing(metrics_of(tmp_path / "b")) == without_timing(metrics_of(tmp_path / "a"))


def test_finished_stage_is_not_trained_again(tmp_path, toy_stage):
    stage = toy_stage()
    training(tmp_path, stage).run(stage)
    lines, saved = metrics_of(tmp_path), last_of(tmp_path)
    again = toy_stage()
    again.model.load_state_dict(saved["model"])
    scores = Scores(0.9)
    training(tmp_path, again, evaluate=scores, resume=True).run(again, saved["training"])
    assert again.seen == []
    assert scores.calls == 0
    assert metrics_of(tmp_path) == lines
    assert torch.equal(again.model.weight, stage.model.weight)


def test_nan_loss_writes_the_names_of_its_images(tmp_path, toy_stage):
    stage = toy_stage(bad=1)
    with pytest.raises(NonFiniteLossError):
        training(tmp_path, stage).run(stage)
    batch = json.loads((tmp_path / "non_finite_batch.json").read_text())
    assert batch == [f"image{i}.jpg" for i in range(4, 8)]
    assert not (tmp_path / "last.pth").exists()


def test_epoch_and_evaluation_are_a_line_each(tmp_path, toy_stage, caplog):
    stage = toy_stage(sizes=(4,), timing=StageTiming(1, 10, 1, 1))
    with caplog.at_level(logging.INFO, logger="processor"):
        training(tmp_path, stage, evaluate=Scores(0.125)).run(stage)
    head, row, scores = [
        r.getMessage() for r in caplog.records if "console" in r.name or "trainer" in r.name
    ]
    assert head.split() == [
        "epoch",
        "loss",
        "half",
        "rest",
        "acc",
        "%",
        "lr",
        "img/s",
        "time",
        "left",
    ]
    cells = row.split()
    assert cells[:6] == ["1/1", "7.50", "3.75", "3.75", "50.0", "1.0e-01"]
    assert cells[-1] == "done"
    assert scores == "   test  toys mAP 12.5 R1 12.5 R5 12.5  best so far"
    lines = [r.getMessage() for r in caplog.records if r.name == "processor.results.report"]
    assert lines[:3] == ["Validation Results on toys", "mAP: 12.5%", "CMC curve, Rank-1  :12.5%"]


def test_state_is_placed_by_the_options_of_this_device(monkeypatch):
    """Saved where optimizers are not fused, resumed where they are."""
    weight = torch.nn.Parameter(torch.ones(3))
    before = torch.optim.Adam([{"params": [weight], "name": "all"}], lr=0.1, fused=False)
    weight.sum().backward()
    before.step()
    after = torch.optim.Adam([{"params": [weight], "name": "all"}], lr=0.7, fused=True)
    loaded = []
    load = torch.optim.Adam.load_state_dict
    monkeypatch.setattr(
        torch.optim.Adam, "load_state_dict", lambda self, x: (loaded.append(x), load(self, x))
    )
    _load_optimizers([after], [before.state_dict()])
    assert loaded[0]["param_groups"][0]["fused"] is True
    assert loaded[0]["param_groups"][0]["params"] == [0]
    assert after.param_groups[0]["lr"] == 0.7
    assert torch.equal(after.state[weight]["exp_avg"], before.state[weight]["exp_avg"])


def test_slow_saving_leaves_out_epochs_that_nothing_follows(tmp_path, toy_stage, monkeypatch):
    monkeypatch.setattr(SavingTimes, "is_due", lambda _: False)
    stage = toy_stage(timing=StageTiming(5, 10, 10, 2))
    trainer = training(tmp_path, stage)
    saved = []
    save = trainer._save_last
    monkeypatch.setattr(
        trainer, "_save_last", lambda stage, epoch, x: (saved.append(epoch), save(stage, epoch, x))
    )
    trainer.run(stage)
    assert saved == [2, 4, 5]
    assert [line["epoch"] for line in metrics_of(tmp_path)] == [1, 2, 3, 4, 5]

"""Training without labels writes its files, reads no label, resumes, and refuses bad input."""

import csv
import json
import math
import os
import random
import shutil
import signal
from dataclasses import replace

import pytest
import torch

from datasets import read_dataset
from processor.runtime.signals import Interrupted
from processor.training import build
from processor.training.dsgl_stage import MOST_POOR, DSGLStage

pytestmark = pytest.mark.slow

TINY_RESNET = {
    "embed_dim": 32,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 1, "layers": 1},
}
TIMING = ("seconds", "images_per_second", "plan_seconds")


@pytest.fixture(scope="module")
def opts(base_opts, tmp_path_factory):
    """Overrides of a run of two epochs of four batches on a tiny ResNet."""
    path = tmp_path_factory.mktemp("resnet") / "little.json"
    path.write_text(json.dumps(TINY_RESNET), encoding="utf-8")
    return [
        *base_opts,
        *("MODEL.NAME", str(path), "DSGL.ENABLED", "True", "DSGL.POOLING", "max"),
        *("DSGL.EPS", "0.6", "DSGL.K1", "8", "DSGL.K2", "3", "DSGL.MIN_SAMPLES", "2"),
        *("DSGL.ITERS", "4", "SOLVER.STAGE2.IMS_PER_BATCH", "16"),
    ]


@pytest.fixture(scope="module")
def train_without_labels(train_in, opts):
    """`train_without_labels(folder, "KEY", "VALUE", ...)`."""

    def run(folder, *more):
        return train_in(folder, *opts, *more)

    return run


@pytest.fixture(scope="module")
def plain(train_without_labels, tmp_path_factory):
    """Folder of an undisturbed run."""
    folder = tmp_path_factory.mktemp("plain")
    train_without_labels(folder, "TEST.BEFORE_TRAINING", "True")
    return folder


def metrics_of(folder):
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [{key: value for key, value in line.items() if key not in TIMING} for line in lines]


def checkpoint_of(folder):
    return torch.load(folder / "last.pth", weights_only=True)


def assert_same_weights(one, other):
    a, b = checkpoint_of(one)["model"], checkpoint_of(other)["model"]
    assert list(a) == list(b)
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_dsgl_run_writes_every_file(plain):
    names = {path.name.partition(".tfevents")[0] for path in plain.iterdir()}
    assert names >= {"last.pth", "best.pth", "little_2.pth", "results.json", "run.json", "log.txt"}
    lines = metrics_of(plain)
    assert [(line["stage"], line["epoch"]) for line in lines] == [("dsgl", 1), ("dsgl", 2)]
    for line in lines:
        parts = line["memory"] + line["disentangled"] + line["relative_entropy"]
        assert line["loss"] == pytest.approx(parts, abs=1e-6)
        assert line["images"] == 4 * 16
        assert line["batches"] == 4
        assert line["clusters"] > 2
        assert 0 <= line["outliers"] < 144
        assert line["size_smallest"] <= line["size_median"] <= line["size_largest"]
        assert -1 <= line["ari"] <= 1
        assert 0 <= line["nmi"] <= 1
        assert 0 < line["mAP"] <= 1
    log = (plain / "log.txt").read_text()
    assert "144 images without identity labels" in log
    assert "clusters of" in log
    meta = checkpoint_of(plain)["meta"]
    assert meta["stage"] == "dsgl"
    assert meta["num_classes"] == 0


def test_dsgl_trains_the_whole_encoder(plain, train_without_labels, tmp_path):
    """But for the neck's bias and the attention pool, which the pooled feature does not use."""
    train_without_labels(tmp_path, "SOLVER.STAGE2.MAX_EPOCHS", "1", "SOLVER.STAGE2.BASE_LR", "0")
    start, end = checkpoint_of(tmp_path)["model"], checkpoint_of(plain)["model"]
    same = {name for name in start if torch.equal(start[name], end[name])}
    assert all(name == "bottleneck.bias" or ".attnpool." in name for name in same), same
    assert "bottleneck.bias" in same


def test_dsgl_never_uses_identity_labels(people, plain, train_without_labels, tmp_path):
    """Other identities for the same images, and even a single one, give the same weights."""
    splits = read_dataset(people.name, str(people.parent))
    rng = random.Random(0)
    shuffled = [sample.pid for sample in splits.train]
    rng.shuffle(shuffled)
    first = None
    for name, pids in {
        "true": [sample.pid for sample in splits.train],
        "shuffled": shuffled,
        "none": [0] * len(shuffled),
    }.items():
        file = tmp_path / f"{name}.csv"
        with file.open("w", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(["path", "pid", "camid", "split"])
            for sample, pid in zip(splits.train, pids, strict=True):
                writer.writerow([sample.path, f"train{pid}", sample.camid, "train"])
            for split in ("query", "gallery"):
                for sample in getattr(splits, split):
                    writer.writerow([sample.path, f"test{sample.pid}", sample.camid, split])
        folder = tmp_path / name
        train_without_labels(folder, "DATASETS.NAMES", str(file))
        first = first or folder
        assert_same_weights(first, folder)
    assert [line["ari"] for line in metrics_of(first)] == pytest.approx(
        [line["ari"] for line in metrics_of(plain)], abs=1
    )
    one, other = metrics_of(first)[0], metrics_of(tmp_path / "shuffled")[0]
    assert one["ari"] > 0.02 + other["ari"]
    assert "ari" not in metrics_of(tmp_path / "none")[0]


@pytest.mark.parametrize(
    ("epoch", "batch", "more"),
    [
        (1, 3, ()),
        (2, 1, ()),
        (2, 2, ("DSGL.RECLUSTER_EVERY", "2")),
        (2, 3, ("DSGL.FAITHFUL", "True")),
    ],
)
def test_stopped_and_resumed_run_is_bit_identical(
    plain, train_without_labels, tmp_path, monkeypatch, epoch, batch, more
):
    straight = plain
    if more:
        straight = tmp_path / "straight"
        train_without_labels(straight, *more)
    stopped = tmp_path / "stopped"
    losses, count = DSGLStage.compute_losses, 0

    def watch(stage, images):
        nonlocal count
        count += 1
        if count == (epoch - 1) * 4 + batch:
            os.kill(os.getpid(), signal.SIGTERM)
        return losses(stage, images)

    with monkeypatch.context() as patch:
        patch.setattr(DSGLStage, "compute_losses", watch)
        with pytest.raises(Interrupted):
            train_without_labels(stopped, *more)
    assert not (stopped / "results.json").exists()
    train_without_labels(stopped, *more, "SOLVER.RESUME", "auto")
    assert_same_weights(straight, stopped)
    assert metrics_of(straight) == metrics_of(stopped)
    a, b = (
        checkpoint_of(folder)["training"]["extra"]["clusters"] for folder in (straight, stopped)
    )
    assert torch.equal(a["prototypes"], b["prototypes"])
    assert torch.equal(a["bank"]["features"], b["bank"]["features"])


def test_clusters_stay_for_the_configured_epochs(train_without_labels, tmp_path):
    train_without_labels(tmp_path, "DSGL.RECLUSTER_EVERY", "2", *("SOLVER.STAGE2.MAX_EPOCHS", "3"))
    lines = metrics_of(tmp_path)
    names = ("clusters", "outliers", "size_largest", "ari", "nmi")
    described = [tuple(line[name] for name in names) for line in lines]
    assert described[0] == described[1]
    assert described[1] != described[2]


VARIANTS = {
    "cluster contrast": ("DSGL.MEMORY", "CM"),
    "hardest image": ("DSGL.MEMORY", "CMhard", "DSGL.LABEL_SMOOTHING", "True"),
    "second version": ("DSGL.MEMORY", "DLhybrid_v2", "DSGL.MEM_LOSS", "both"),
    "published": ("DSGL.FAITHFUL", "True", "DSGL.MEM_LOSS", "mean"),
    "no second image": ("DSGL.W_KL", "0"),
    "shuffled": ("DATALOADER.SAMPLER", "softmax", "DSGL.ITERS", "0"),
    "bf16": ("SOLVER.AMP", "bf16", "DSGL.EMBED_DIM", "24", "DSGL.DROPOUT", "0.2"),
    "resident": ("INPUT.CACHE", "device", "DSGL.CAMERA_AWARE", "False"),
}
HYBRID = {"memory", "disentangled", "relative_entropy"}


@pytest.mark.parametrize("variant", VARIANTS)
def test_dsgl_variants_train(train_without_labels, tmp_path, variant):
    train_without_labels(tmp_path, "SOLVER.STAGE2.MAX_EPOCHS", "1", *VARIANTS[variant])
    (line,) = metrics_of(tmp_path)
    expected = HYBRID
    if "DSGL.MEMORY" in VARIANTS[variant]:
        expected = {"memory"}
    elif variant == "no second image":
        expected = {"memory", "disentangled"}
    assert line.keys() & HYBRID == expected
    assert 0 < line["loss"] < 3 * (2 / 0.05 + math.log(144))  # cosines over T against 144 rows


@pytest.mark.parametrize("pooling", ["gem", "clip"])
def test_transformer_trains_with_and_without_its_patches_frozen(
    train_without_labels, clip_json, tmp_path, pooling
):
    train_without_labels(
        tmp_path,
        *("MODEL.NAME", clip_json, "DSGL.POOLING", pooling, "DSGL.FREEZE_PATCH_CONV", "True"),
        *("SOLVER.STAGE2.MAX_EPOCHS", "1", "DSGL.EPS", "0.4", "SOLVER.STAGE2.IMS_PER_BATCH", "8"),
    )
    groups = checkpoint_of(tmp_path)["training"]["optimizers"][0]["param_groups"]
    tensors = sum(len(group["params"]) for group in groups)
    frozen = ["image_encoder.conv1.weight", "bottleneck.bias"]
    frozen += ["image_encoder.proj"] if pooling == "gem" else []
    buffers = ("running_mean", "running_var", "num_batches_tracked")
    names = [x for x in checkpoint_of(tmp_path)["model"] if not x.endswith(buffers)]
    assert tensors == len(names) - len(frozen)


def test_dsgl_checkpoint_reproduces_the_results_of_its_run(plain, script):
    shutil.copyfile(plain / "results.json", plain / "of_the_run.json")
    finished = script("test_clipreid.py", "TEST.WEIGHT", plain / "last.pth")
    assert finished.status == 0, finished.output
    expected = json.loads((plain / "of_the_run.json").read_text())["targets"]
    assert json.loads((plain / "results.json").read_text())["targets"] == expected


REFUSED = {
    "no cluster": (("DSGL.EPS", "0.01", "DSGL.MIN_SAMPLES", "9"), "DSGL.EPS"),
    "one cluster": (("DSGL.EPS", "0.999", "DSGL.K1", "140"), "DSGL.EPS"),
    "more irrelevant labels than clusters": (("DSGL.ORDERS", "140"), "DSGL.ORDERS"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_too_few_clusters_stop_the_run_with_advice(script, opts, tmp_path, case):
    given, advice = REFUSED[case]
    finished = script("train_dsgl.py", *opts, "OUTPUT_DIR", tmp_path, *given)
    assert finished.status == 1
    assert advice in finished.output.splitlines()[-1] + finished.output.splitlines()[-2]


def test_batch_of_more_clusters_than_there_are_is_filled(train_without_labels, tmp_path, caplog):
    train_without_labels(tmp_path, "SOLVER.STAGE2.IMS_PER_BATCH", "256", "DSGL.ITERS", "1")
    assert "of the 256 places in a batch" in caplog.text
    assert [line["images"] for line in metrics_of(tmp_path)] == [256, 256]


@pytest.fixture
def poor_from_epoch_2(monkeypatch):
    """`poor_from_epoch_2(n)`: after the first, n clusterings find no cluster."""
    original = build.find_clusters

    def after(count):
        calls = []

        def find(table, options):
            calls.append(options)
            poor = 1 < len(calls) <= 1 + count
            return original(table, replace(options, min_samples=200) if poor else options)

        monkeypatch.setattr(build, "find_clusters", find)

    return after


EPOCHS_OF_ONE_BATCH = ("SOLVER.STAGE2.MAX_EPOCHS", "8", "DSGL.ITERS", "1")


def test_clusters_of_before_stay_after_a_poor_clustering(
    train_without_labels, tmp_path, caplog, poor_from_epoch_2
):
    poor_from_epoch_2(MOST_POOR)
    train_without_labels(tmp_path, *EPOCHS_OF_ONE_BATCH)
    lines = metrics_of(tmp_path)
    assert [line["poor_clusterings"] for line in lines] == [0, 1, 2, 3, 4, 5, 0, 0]
    assert len({(line["clusters"], line["outliers"]) for line in lines[:6]}) == 1
    assert caplog.text.count("The previous clusters stay") == MOST_POOR
    assert "no cluster: all 144 images are outliers at DSGL.EPS 0.6" in caplog.text


def test_too_many_poor_clusterings_in_a_row_stop_the_run_with_advice(
    train_without_labels, tmp_path, poor_from_epoch_2
):
    poor_from_epoch_2(MOST_POOR + 1)
    with pytest.raises(ValueError, match=r"DSGL\.EPS.*5 clusterings in a row were poor"):
        train_without_labels(tmp_path, *EPOCHS_OF_ONE_BATCH)
    assert len(metrics_of(tmp_path)) == 6
    assert checkpoint_of(tmp_path)["training"]["extra"]["poor"] == 5


@pytest.mark.parametrize("stopped_in", [2, 3])
def test_run_stopped_with_the_clusters_of_before_resumes_bit_identically(
    train_without_labels, tmp_path, monkeypatch, poor_from_epoch_2, stopped_in
):
    more = ("SOLVER.STAGE2.MAX_EPOCHS", "4")
    poor_from_epoch_2(2)
    train_without_labels(tmp_path / "straight", *more)
    losses, count = DSGLStage.compute_losses, 0

    def watch(stage, images):
        nonlocal count
        count += 1
        if count == (stopped_in - 1) * 4 + 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return losses(stage, images)

    monkeypatch.undo()
    poor_from_epoch_2(2)
    with monkeypatch.context() as patch:
        patch.setattr(DSGLStage, "compute_losses", watch)
        with pytest.raises(Interrupted):
            train_without_labels(tmp_path / "stopped", *more)
    train_without_labels(tmp_path / "stopped", *more, "SOLVER.RESUME", "auto")
    assert_same_weights(tmp_path / "straight", tmp_path / "stopped")
    assert metrics_of(tmp_path / "straight") == metrics_of(tmp_path / "stopped")


def test_run_of_another_kind_cannot_be_resumed(plain, straight, script, opts, base_opts, tmp_path):
    finished = script(
        "train_clipreid.py", *base_opts, "SOLVER.RESUME", plain / "last.pth", "OUTPUT_DIR", tmp_path
    )
    assert finished.status == 1
    assert "SOLVER.RESUME" in finished.output
    finished = script(
        "train_dsgl.py", *opts, "SOLVER.RESUME", straight / "last.pth", "OUTPUT_DIR", tmp_path
    )
    assert finished.status == 1
    assert "last.pth" in finished.output

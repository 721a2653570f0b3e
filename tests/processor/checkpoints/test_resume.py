"""Starting points of a run: pre-trained or random weights, or a stopped run."""

import json
from pathlib import Path

import pytest
import torch

from config import ConfigError, dump_cfg, load_cfg
from datasets import registry
from datasets.readers.benchmark import Benchmark
from datasets.sources import TrainingSet
from model import UnsupervisedReID, build_reid_model
from model.weights.read import WeightsFile
from processor.checkpoints import resume
from processor.checkpoints.resume import (
    StartingPoint,
    build_starting_model,
    check_prompt_names,
    check_same_images,
    find_starting_point,
)
from processor.checkpoints.save import save_checkpoint

OPTS = [
    *("MODEL.NAME", "resnet18", "MODEL.PRETRAIN_CHOICE", "none", "DSGL.ENABLED", "True"),
    *("INPUT.SIZE_TRAIN", "[64, 32]", "INPUT.SIZE_TEST", "[64, 32]"),
]
DATA = TrainingSet([], [], [], 5, 3, 1, ("one",), (0,))


@pytest.fixture
def stopped(tmp_path):
    """`stopped("dsgl")` -> folder and model of a run that stopped in that stage."""

    def write(stage):
        cfg = load_cfg(None, OPTS)
        torch.manual_seed(0)
        model = build_reid_model(cfg, 0, 3, 1)
        meta = {"num_classes": 0, "num_cameras": 3, "num_views": 1, "cameras": "{}"}
        training = {"stage": stage, "epoch": 2, "finished": True}
        save_checkpoint(tmp_path / "last.pth", model, dump_cfg(cfg), meta, training)
        return tmp_path, model

    return write


def test_new_run_warns_of_random_weights(caplog):
    model = build_starting_model(load_cfg(None, OPTS), DATA, StartingPoint())
    assert isinstance(model, UnsupervisedReID)
    warnings = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == ["MODEL.PRETRAIN_CHOICE none: the model starts from random weights"]


def test_unknown_encoder_is_refused_before_data_is_read(tmp_path):
    cfg = load_cfg(None, [*OPTS, "MODEL.NAME", "resnet19"])
    with pytest.raises(
        ValueError, match=r"MODEL\.NAME: unknown encoder 'resnet19'; the nearest known are resnet18"
    ):
        find_starting_point(cfg, tmp_path)


def test_stopped_run_resumes_from_its_own_weights(stopped, caplog):
    """ImageNet's weights are not looked for."""
    folder, saved = stopped("dsgl")
    options = [*OPTS, "SOLVER.RESUME", "auto", "MODEL.PRETRAIN_CHOICE", "clip"]
    cfg = load_cfg(None, options)
    torch.manual_seed(1)
    model = build_starting_model(cfg, DATA, find_starting_point(cfg, folder))
    for key, tensor in saved.state_dict().items():
        assert torch.equal(model.state_dict()[key], tensor), key
    assert "random weights" not in caplog.text


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (["MODEL.NAME", "resnet34"], r"not the one of MODEL\.NAME.*layer1\.2"),
        (["DSGL.EMBED_DIM", "8"], r"bottleneck\.weight.*\(512,\).*\(8,\).*DSGL\.EMBED_DIM"),
        (["DSGL.POOLING", "avg"], r"SOLVER\.RESUME: .* is from another run: .*pooling\.p"),
    ],
)
def test_another_model_cannot_resume(stopped, opts, message):
    folder, _ = stopped("dsgl")
    cfg = load_cfg(None, [*OPTS, "SOLVER.RESUME", "auto", *opts])
    with pytest.raises(ValueError, match=message):
        build_starting_model(cfg, DATA, find_starting_point(cfg, folder))


def test_another_kind_of_training_cannot_resume(stopped, tiny_opts):
    folder, _ = stopped("dsgl")
    cfg = load_cfg(None, [*tiny_opts, "SOLVER.RESUME", "auto", "SOLVER.STAGE1.WEIGHT", "p.pth"])
    with pytest.raises(ConfigError, match=r"stopped in stage dsgl, but DSGL\.ENABLED is now False"):
        find_starting_point(cfg, folder)
    stopped(2)
    cfg = load_cfg(None, [*OPTS, "SOLVER.RESUME", "auto"])
    with pytest.raises(ConfigError, match=r"stopped in stage 2, but DSGL\.ENABLED is now True"):
        find_starting_point(cfg, folder)


@pytest.mark.parametrize(("noun", "names"), [("vehicle", "trucks"), ("person", "trucks,people")])
def test_noun_of_a_new_data_set_comes_from_its_record(monkeypatch, noun, names):
    monkeypatch.setitem(registry.BENCHMARKS, "trucks", Benchmark(lambda *_: None, noun="vehicle"))
    passed = []
    monkeypatch.setattr(resume, "build_reid_model", lambda _cfg, *sizes: passed.append(sizes[3]))
    names = repr(tuple(names.split(",")))
    build_starting_model(load_cfg(None, [*OPTS, "DATASETS.NAMES", names]), DATA, StartingPoint())
    assert passed == [noun]


@pytest.fixture
def resumed():
    """A starting point whose training part knows two images."""
    images = torch.tensor([[1, 10], [2, 20]])
    file = WeightsFile({}, training={"image_hashes": images})
    return StartingPoint(Path("last.pth"), file, resumed=True)


def test_changed_images_are_refused_with_their_number(resumed, monkeypatch, caplog):
    monkeypatch.setattr(resume, "describe_images", lambda _: torch.tensor([[1, 11], [3, 30]]))
    with pytest.raises(ConfigError, match=r"last.pth: of 2 images 1 are gone and 1 have") as error:
        check_same_images(load_cfg(), DATA, resumed)
    assert "SOLVER.RESUME_CHANGED_DATA True" in str(error.value)
    now = check_same_images(load_cfg(None, ["SOLVER.RESUME_CHANGED_DATA", "True"]), DATA, resumed)
    assert now.tolist() == [[1, 11], [3, 30]]
    assert "training images have changed since the run stopped: of 2 images" in caplog.text


def test_new_runs_and_equal_images_pass(resumed, monkeypatch):
    monkeypatch.setattr(resume, "describe_images", lambda _: torch.tensor([[1, 10], [2, 20]]))
    for start in (StartingPoint(), resumed):
        assert check_same_images(load_cfg(), DATA, start).tolist() == [[1, 10], [2, 20]]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["b", "a"], "2 of 2 differ, e.g. b there and a here"),
        (["a", "b", "c"], "1 of 2 differ, e.g. c there and None here"),
        (["a"], "1 of 2 differ"),
    ],
)
def test_prompts_of_other_identities_are_refused(names, message):
    file = WeightsFile({}, meta={"names": json.dumps(names)})
    with pytest.raises(ConfigError, match=f"SOLVER.STAGE1.WEIGHT: x.pth has prompts .*{message}"):
        check_prompt_names(file, Path("x.pth"), ["a", "b"])


def test_prompts_of_the_same_identities_pass_and_nameless_ones_warn(caplog):
    check_prompt_names(WeightsFile({}, meta={"names": '["a", "b"]'}), None, ["a", "b"])
    assert not caplog.records
    check_prompt_names(WeightsFile({}), Path("x.pth"), ["a", "b"])
    assert "x.pth does not name its identities" in caplog.text


def test_changed_prompt_is_refused_on_resume(tmp_path):
    opts = ["MODEL.NAME", "RN50", "MODEL.PROMPT", "cow"]
    meta = {"num_classes": 0, "num_cameras": 3, "num_views": 1, "cameras": "{}"}
    training = {"stage": 2, "epoch": 2, "finished": True}
    text = dump_cfg(load_cfg(None, opts))
    save_checkpoint(tmp_path / "last.pth", torch.nn.Linear(1, 1), text, meta, training)
    now = ["MODEL.NAME", "RN50", "MODEL.PROMPT", "horse", "SOLVER.RESUME", "auto"]
    with pytest.raises(
        ConfigError, match=r"MODEL.PROMPT was 'cow' .* and is 'horse' now; .*restore"
    ):
        find_starting_point(load_cfg(None, now), tmp_path)


@pytest.mark.parametrize("option", ["SOLVER.STAGE1.WEIGHT", "SOLVER.RESUME"])
def test_weights_of_another_tag_are_refused(stopped, option):
    """Another GELU fits all tensors."""
    folder, _ = stopped("dsgl")
    file = torch.load(folder / "last.pth", weights_only=True)
    file["config"] = file["config"].replace("PRETRAIN_TAG: ''", "PRETRAIN_TAG: laion2b_s34b_b88k")
    torch.save(file, folder / "other.pth")
    clip = ("MODEL.NAME", "ViT-B-16", "MODEL.PRETRAIN_CHOICE", "none")
    model = OPTS if option == "SOLVER.RESUME" else clip
    cfg = load_cfg(None, [*model, option, str(folder / "other.pth")])
    with pytest.raises(ConfigError, match=f"{option}: .*PRETRAIN_TAG 'laion2b_s34b_b88k', not ''"):
        find_starting_point(cfg, folder)


@pytest.mark.parametrize("finished", [True, False])
def test_batches_of_an_unfinished_epoch_stay(tmp_path, finished):
    cfg = load_cfg(None, OPTS)
    model = build_reid_model(cfg, 0, 3, 1)
    meta = {"num_classes": 0, "num_cameras": 3, "num_views": 1, "cameras": "{}"}
    training = {"stage": "dsgl", "epoch": 2, "finished": finished}
    save_checkpoint(tmp_path / "last.pth", model, dump_cfg(cfg), meta, training)
    changed = load_cfg(None, [*OPTS, "SOLVER.RESUME", "auto", "SOLVER.STAGE2.IMS_PER_BATCH", "128"])
    if finished:
        assert find_starting_point(changed, tmp_path).resumed
    else:
        with pytest.raises(
            ConfigError, match=r"IMS_PER_BATCH was 64 .* inside an epoch and is 128"
        ):
            find_starting_point(changed, tmp_path)


def test_run_beyond_the_wanted_epochs_is_refused(stopped):
    folder, _ = stopped("dsgl")  # in epoch 2
    for epochs, fits in ((2, True), (1, False)):
        options = ["SOLVER.RESUME", "auto", "SOLVER.STAGE2.MAX_EPOCHS", str(epochs)]
        if fits:
            assert find_starting_point(load_cfg(None, [*OPTS, *options]), folder).resumed
        else:
            with pytest.raises(ConfigError, match=r"STAGE2\.MAX_EPOCHS: .* is in epoch 2"):
                find_starting_point(load_cfg(None, [*OPTS, *options]), folder)

"""Starting points of a run: pre-trained or random weights, or a stopped run."""

import pytest
import torch

from config import ConfigError, dump_cfg, load_cfg
from datasets import registry
from datasets.readers.benchmark import Benchmark
from datasets.sources import TrainingSet
from model import UnsupervisedReID, build_reid_model
from processor.checkpoints import resume
from processor.checkpoints.resume import (
    StartingPoint,
    build_starting_model,
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
        meta = {"num_classes": 0, "num_cameras": 3, "num_views": 1}
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
    with pytest.raises(ValueError, match=r"MODEL\.NAME: unknown encoder 'resnet19'; known: "):
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

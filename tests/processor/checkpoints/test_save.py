"""Checkpoints are written atomically and read without executing code."""

import random

import numpy as np
import pytest
import torch
from torch import nn

from config import dump_cfg, load_cfg
from config.load import load_cfg_text
from model.weights.read import CHECKPOINT_FORMAT
from processor.checkpoints import save
from processor.checkpoints.save import save_checkpoint
from processor.runtime import files
from processor.runtime.seeding import random_state, restore_random_state, seed_everything

META = {"num_classes": 7, "mAP": 0.5, "torch": str(torch.__version__)}


def network():
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


def leaves(content):
    """Every value in nested containers."""
    if isinstance(content, dict):
        for key, value in content.items():
            assert isinstance(key, str | int), key
            yield from leaves(value)
    elif isinstance(content, list | tuple):
        for value in content:
            yield from leaves(value)
    else:
        yield content


def test_checkpoint_holds_format_model_config_and_meta(tmp_path):
    cfg = load_cfg(None, ["SOLVER.SEED", "77"])
    model = network()
    save_checkpoint(tmp_path / "new folder" / "a.pth", model, dump_cfg(cfg), META)
    content = torch.load(tmp_path / "new folder" / "a.pth", weights_only=True)
    assert list(content) == ["format", "model", "config", "meta"]
    assert content["format"] == CHECKPOINT_FORMAT
    assert content["meta"] == META
    assert load_cfg_text(content["config"]) == cfg
    assert list(content["model"]) == list(model.state_dict())
    for key, value in model.state_dict().items():
        assert torch.equal(content["model"][key], value)


def test_training_state_holds_only_tensors_numbers_and_strings(tmp_path):
    model = network()
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.randn(4, 3)).sum().backward()
    optimizer.step()
    training = {"optimizers": [optimizer.state_dict()], "random": random_state(), "extra": {}}
    save_checkpoint(tmp_path / "a.pth", model, dump_cfg(load_cfg()), META, training)
    content = torch.load(tmp_path / "a.pth", weights_only=True)
    kinds = {type(leaf) for leaf in leaves(dict(content, model=dict(content["model"])))}
    assert kinds <= {torch.Tensor, str, int, float, bool, type(None)}
    restored = torch.optim.Adam(model.parameters())
    restored.load_state_dict(content["training"]["optimizers"][0])
    for one, other in zip(optimizer.state.values(), restored.state.values(), strict=True):
        assert all(torch.equal(one[key], other[key]) for key in ("step", "exp_avg", "exp_avg_sq"))


@pytest.mark.parametrize("moment", ["save", "rename"])
def test_failed_save_keeps_the_old_file(tmp_path, monkeypatch, moment):
    path = tmp_path / "last.pth"
    old = network()
    save_checkpoint(path, old, dump_cfg(load_cfg()), META)
    before = path.read_bytes()

    def fail(*arguments, **_):
        if moment == "save":
            arguments[1].write_bytes(b"half of a file")
        raise OSError("no space left on device")

    if moment == "save":
        monkeypatch.setattr(save.torch, "save", fail)
    else:
        monkeypatch.setattr(type(path), "replace", fail)
    with pytest.raises(OSError, match="no space left"):
        save_checkpoint(path, network(), dump_cfg(load_cfg()), META)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["last.pth"]


def test_leftover_of_a_killed_save_is_overwritten_by_the_next(tmp_path, monkeypatch):
    path = tmp_path / "last.pth"

    class Killed(BaseException):
        pass

    def killed(_content, file):
        file.write_bytes(b"half")
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(save.torch, "save", killed)
        patch.setattr(type(path), "unlink", lambda *_a, **_k: None)  # no clean-up
        with pytest.raises(Killed):
            save_checkpoint(path, network(), dump_cfg(load_cfg()), META)
    assert len(list(tmp_path.iterdir())) == 1
    monkeypatch.setattr(files, "_CLEANED", set())  # a new process
    save_checkpoint(path, network(), dump_cfg(load_cfg()), META)
    assert [file.name for file in tmp_path.iterdir()] == ["last.pth"]


def test_random_states_are_restored():
    seed_everything(1, "stage", 2)
    state = random_state()
    drawn = torch.rand(3), random.random(), random.gauss(0, 1)
    seed_everything(9)
    restore_random_state(state)
    again = torch.rand(3), random.random(), random.gauss(0, 1)
    assert torch.equal(drawn[0], again[0])
    assert drawn[1:] == again[1:]
    seed_everything(1, "stage", 2)
    first = np.random.rand()  # noqa: NPY002 - tests the global generator
    seed_everything(1, "stage", 2)
    assert np.random.rand() == first  # noqa: NPY002
    seed_everything(1, "stage", 3)
    assert np.random.rand() != first  # noqa: NPY002

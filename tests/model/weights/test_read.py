"""Reading weights files: content, damage, and code that is never executed."""

import pickle
from pathlib import Path

import pytest
import safetensors.torch
import torch

from model import load_weights
from model.weights.read import CHECKPOINT_FORMAT, read_weights_file


def test_checkpoint_carries_config_and_meta(tmp_path, reid_state, save):
    content = {"format": CHECKPOINT_FORMAT, "model": reid_state, "config": "SOLVER:\n  SEED: 3\n"}
    content |= {"meta": {"num_classes": 10, "noun": "person"}, "training": {"epoch": 5}}
    file = read_weights_file(save(tmp_path, content))
    assert (file.config, file.meta["noun"], file.training) == (
        content["config"],
        "person",
        {"epoch": 5},
    )
    assert file.state.keys() == reid_state.keys()
    assert not file.torchscript
    other = read_weights_file(save(tmp_path, reid_state))
    assert (other.config, other.meta, other.training) == ("", {}, {})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"fc.weight": torch.zeros(2, 2)}, "no image encoder of CLIP.*fc.weight"),
        ({"fc": 3}, "not a state dict of tensors but a dict"),
        ([torch.zeros(2)], "not a state dict of tensors but a list"),
        (torch.zeros(2), "not a state dict of tensors but a Tensor"),
        ({}, "not a state dict"),
    ],
)
def test_file_without_an_encoder_is_refused(tmp_path, tiny_reid, content, message, save):
    with pytest.raises(ValueError, match=message):
        load_weights(tiny_reid, save(tmp_path, content))


def test_missing_file_is_named(tmp_path, tiny_reid):
    for path in (tmp_path / "no.pth", tmp_path):
        with pytest.raises(FileNotFoundError, match=str(path)):
            load_weights(tiny_reid, path)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
@pytest.mark.parametrize("kind", ["new", "legacy", "archive", "safetensors"])
def test_truncated_file_is_refused(tmp_path, tiny_reid, kind, share, save_archive):
    state = {f"visual.{i}.weight": torch.randn(30, 30) for i in range(3)}
    path = tmp_path / ("file.safetensors" if kind == "safetensors" else "file.pth")
    if kind == "archive":
        save_archive(state, path)
    elif kind == "safetensors":
        safetensors.torch.save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=kind == "new")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ValueError, match=str(path)):
        load_weights(tiny_reid, path)


@pytest.mark.parametrize(
    "content",
    [b"<html>404</html>", b"version https://git-lfs", b"\x80\x02K", bytes(99)],
    ids=["page", "pointer", "pickle", "zeros"],
)
@pytest.mark.parametrize("name", ["file.pth", "file.safetensors"])
def test_file_of_another_format_is_refused(tmp_path, tiny_reid, content, name):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=str(path)):
        load_weights(tiny_reid, path)


class Intruder:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("kind", ["torch", "pickle", "nested"])
def test_pickled_code_is_not_executed(tmp_path, tiny_reid, reid_state, kind):
    trace, path = tmp_path / "executed", tmp_path / "file.pth"
    if kind == "pickle":
        path.write_bytes(pickle.dumps(Intruder(trace)))
    else:
        content = (
            {"model": reid_state, "extra": Intruder(trace)} if kind == "nested" else Intruder(trace)
        )
        torch.save(content, path)
    with pytest.raises(ValueError, match="never executed"):
        load_weights(tiny_reid, path)
    assert not trace.exists()
    pickle.loads(pickle.dumps(Intruder(trace)))
    assert trace.exists()  # plain unpickling does execute it


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_checkpoint_of_another_version_is_not_taken_for_bare_weights(tmp_path, ending):
    path, weights = tmp_path / f"model{ending}", {"a": torch.ones(2)}
    if ending == ".pth":
        torch.save({"format": "clipreid/99", "model": weights, "config": "", "meta": {}}, path)
    else:
        safetensors.torch.save_file(weights, path, {"format": "clipreid/99", "meta": "{}"})
    with pytest.raises(ValueError, match=r"format is clipreid/99, and this version .* reads"):
        read_weights_file(path)

"""Torchvision's, timm's and IBN-Net's files fill ImageNet ResNets."""

import re

import pytest
import safetensors.torch
import torch
import torchvision

from model import load_weights


def published_resnet(name):
    """A state dict with torchvision's or IBN-Net's names and random values."""
    plain = getattr(torchvision.models, name.removesuffix("_ibn_a"))(weights=None).state_dict()
    state = {}
    for key, tensor in plain.items():
        tensor = torch.rand_like(tensor) if tensor.is_floating_point() else tensor
        block, kind = key.rsplit(".", 1)
        if not name.endswith("_ibn_a") or not re.fullmatch(r"layer[123]\.\d+\.bn1", block):
            state[key] = tensor
        elif not tensor.ndim:
            state[f"{block}.BN.{kind}"] = tensor
        else:
            first, state[f"{block}.BN.{kind}"] = tensor.chunk(2)
            if kind in ("weight", "bias"):
                state[f"{block}.IN.{kind}"] = first
    return state


@pytest.mark.parametrize("kind", ["torchvision", "old torchvision", "timm.safetensors", "module."])
def test_imagenet_file_fills_the_encoder(tmp_path, build_unsupervised, kind):
    """The classifier is ignored; old files have no batch counts."""
    state = published_resnet("resnet18")
    content = dict(state)
    if kind == "old torchvision":
        content = {k: t for k, t in state.items() if not k.endswith("num_batches_tracked")}
    elif kind == "module.":
        content = {"state_dict": {f"module.{key}": t for key, t in state.items()}, "epoch": 90}
    path = tmp_path / kind
    if kind == "timm.safetensors":
        safetensors.torch.save_file(content, path)
    else:
        torch.save(content, path)
    model = build_unsupervised("MODEL.NAME", "resnet18")
    report = load_weights(model, path)
    assert report.skipped == report.reshaped == ()
    assert report.unexpected == ("fc.bias", "fc.weight")
    left = {key for key in report.missing if not key.endswith("num_batches_tracked")}
    assert left == {
        "pooling.p",
        *(f"bottleneck.{part}" for part in ("weight", "bias", "running_mean", "running_var")),
    }
    found = model.state_dict()
    for key in report.loaded:
        assert torch.equal(found[key], state[key.removeprefix("image_encoder.")]), key
    assert len(report.loaded) == (100 if kind == "old torchvision" else 120)


def test_ibn_file_fills_the_encoder(tmp_path, build_unsupervised, save):
    state = published_resnet("resnet50_ibn_a")
    assert {"layer1.0.bn1.IN.weight", "layer3.5.bn1.BN.running_mean"} <= state.keys()
    model = build_unsupervised("MODEL.NAME", "resnet50_ibn_a")
    report = load_weights(model, save(tmp_path, state))
    assert report.unexpected == ("fc.bias", "fc.weight")
    assert not any(key.startswith("image_encoder.") for key in report.missing)
    assert torch.equal(model.image_encoder.layer1[0].bn1.IN.weight, state["layer1.0.bn1.IN.weight"])
    plain = build_unsupervised("MODEL.NAME", "resnet50")
    with pytest.raises(ValueError, match=r"not the one of MODEL\.NAME.*layer1\.0\.bn1\.BN\."):
        load_weights(plain, save(tmp_path, state))


@pytest.mark.parametrize(
    ("file", "model", "parts"),
    [
        ("resnet34", "resnet18", ["MODEL.NAME", "image_encoder.layer1.2.bn1.bias"]),
        ("resnet18", "tiny ViT", ["conv1.weight", "(64, 3, 7, 7)", "(128, 3, 16, 16)"]),
        ("tiny ViT", "resnet18", ["conv1.weight", "(128, 3, 16, 16)", "(64, 3, 7, 7)"]),
    ],
)
def test_file_of_another_network_is_refused(
    tmp_path, build_unsupervised, tiny_clip_file, file, model, parts, save, assert_same
):
    network = build_unsupervised(*([] if model == "tiny ViT" else ["MODEL.NAME", model]))
    before = {key: t.clone() for key, t in network.state_dict().items()}
    path = tiny_clip_file if file == "tiny ViT" else save(tmp_path, published_resnet(file))
    with pytest.raises(ValueError) as error:
        load_weights(network, path)
    for part in (str(path), "MODEL.NAME", *parts):
        assert part in str(error.value)
    assert_same(network, before)


def test_imagenet_file_is_refused_for_clip_reid(tmp_path, build, save):
    path = save(tmp_path, published_resnet("resnet18"))
    with pytest.raises(ValueError, match=r"conv1\.weight.*MODEL\.NAME does not describe this file"):
        load_weights(build(), path)

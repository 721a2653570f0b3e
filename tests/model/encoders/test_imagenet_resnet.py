"""ImageNet ResNets against written-out blocks, and where their weights are found."""

import warnings
from pathlib import Path

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

from model.encoders import imagenet_resnet as resnet_module
from model.encoders.imagenet_resnet import (
    InstanceBatchNorm,
    build_imagenet_backbone,
    find_imagenet_weights,
)
from model.encoders.kind import EncoderOptions


def build_resnet(name, last_stride=1):
    return build_imagenet_backbone(
        name, EncoderOptions((64, 32), last_stride=last_stride)
    ).image_encoder


def randomize(module):
    """Norms as after some training, so that no branch is zero."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for norm in module.modules():
            if isinstance(norm, nn.BatchNorm2d | nn.InstanceNorm2d):
                norm.weight.copy_(0.5 + torch.rand(norm.weight.shape, generator=generator))
                norm.bias.copy_(0.1 * torch.randn(norm.bias.shape, generator=generator))
            if isinstance(norm, nn.BatchNorm2d):
                norm.running_mean.copy_(0.1 * torch.randn(norm.bias.shape, generator=generator))
                norm.running_var.copy_(0.5 + torch.rand(norm.bias.shape, generator=generator))
    return module.eval()


@pytest.fixture
def images():
    return torch.randn(2, 3, 64, 32, generator=torch.Generator().manual_seed(1))


def batch_norm(x, norm):
    return F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias)


@torch.no_grad()
def test_last_stage_has_stride_one(images):
    """Its first block is two 3x3 convolutions and a shortcut, all of stride 1, not dilated."""
    encoder = randomize(build_resnet("resnet18"))
    x = encoder.layer3(encoder.layer2(encoder.layer1(stem(encoder, images))))
    block = encoder.layer4[0]
    y = F.relu(batch_norm(F.conv2d(x, block.conv1.weight, padding=1), block.bn1))
    y = batch_norm(F.conv2d(y, block.conv2.weight, padding=1), block.bn2)
    shortcut = batch_norm(F.conv2d(x, block.downsample[0].weight), block.downsample[1])
    expected = encoder.layer4[1](F.relu(y + shortcut))
    found = encoder.maps(images)
    torch.testing.assert_close(found, expected)
    assert found.shape == (2, 512, 4, 2)
    assert encoder.grid == (4, 2)
    features = encoder(images)
    torch.testing.assert_close(features.last, x.mean((2, 3)))
    torch.testing.assert_close(features.final, expected.mean((2, 3)))
    assert features.projected.shape == (2, 0)
    assert (encoder.width, encoder.joint_width) == (512, 0)


@torch.no_grad()
def stem(encoder, images):
    x = F.conv2d(images, encoder.conv1.weight, stride=2, padding=3)
    return F.max_pool2d(F.relu(batch_norm(x, encoder.bn1)), 3, stride=2, padding=1)


@torch.no_grad()
def test_stride_two_equals_timms_network(images):
    encoder = randomize(build_resnet("resnet18", last_stride=2)).double()
    network = timm.create_model("resnet18", num_classes=0).eval().double()
    assert not network.load_state_dict(encoder.state_dict()).missing_keys
    images = images.double()
    torch.testing.assert_close(encoder.maps(images), network.forward_features(images))
    assert encoder.maps(images).shape == (2, 512, *encoder.grid) == (2, 512, 2, 1)


def test_bottlenecks_stride_in_the_second_convolution():
    """As in torchvision, not in the first."""
    fine, coarse = build_resnet("resnet50"), build_resnet("resnet50", last_stride=2)
    assert [fine.layer4[0].conv2.stride, fine.layer4[0].downsample[0].stride] == [(1, 1)] * 2
    assert [coarse.layer4[0].conv2.stride, coarse.layer4[0].downsample[0].stride] == [(2, 2)] * 2
    assert fine.layer4[0].conv2.dilation == (1, 1)
    assert fine.layer3[0].conv2.stride == (2, 2)


def test_instance_and_batch_norm_split_the_channels():
    norm = InstanceBatchNorm(5).train()
    maps = torch.randn(4, 5, 3, 2)
    with torch.no_grad():
        norm.IN.weight.copy_(torch.tensor([2.0, 0.5]))
        norm.IN.bias.copy_(torch.tensor([1.0, -1.0]))
        norm.BN.weight.copy_(torch.tensor([3.0, 1.0, 0.1]))
        found = norm(maps)
    of_image = (maps - maps.mean((2, 3), keepdim=True)) / (
        maps.var((2, 3), keepdim=True, correction=0) + 1e-5
    ).sqrt()
    of_batch = (maps - maps.mean((0, 2, 3), keepdim=True)) / (
        maps.var((0, 2, 3), keepdim=True, correction=0) + 1e-5
    ).sqrt()
    scale, shift = torch.tensor([2.0, 0.5])[:, None, None], torch.tensor([1.0, -1.0])[:, None, None]
    torch.testing.assert_close(found[:, :2], of_image[:, :2] * scale + shift)
    torch.testing.assert_close(
        found[:, 2:], of_batch[:, 2:] * torch.tensor([3.0, 1.0, 0.1])[:, None, None]
    )
    torch.testing.assert_close(norm.BN.running_mean, 0.1 * maps.mean((0, 2, 3))[2:])


def test_ibn_covers_the_first_three_layers():
    encoder = build_resnet("resnet50_ibn_a")
    kinds = {
        name: {type(block.bn1).__name__ for block in getattr(encoder, name)}
        for name in ("layer1", "layer2", "layer3", "layer4")
    }
    assert kinds == {
        "layer1": {"InstanceBatchNorm"},
        "layer2": {"InstanceBatchNorm"},
        "layer3": {"InstanceBatchNorm"},
        "layer4": {"BatchNorm2d"},
    }
    assert type(encoder.bn1) is nn.BatchNorm2d
    shapes = {key: tuple(tensor.shape) for key, tensor in encoder.state_dict().items()}
    assert shapes["layer1.0.bn1.IN.weight"] == shapes["layer1.0.bn1.BN.running_mean"] == (32,)
    assert shapes["layer3.5.bn1.IN.bias"] == (128,)
    assert "layer1.0.bn1.IN.running_mean" not in shapes


@torch.no_grad()
def test_full_size_maps():
    """Torchvision's 318 tensors without the classifier's two; layer4 as fine as layer3."""
    encoder = build_resnet("resnet50").eval()
    assert encoder.maps(torch.zeros(2, 3, 256, 128)).shape == (2, 2048, 16, 8)
    assert encoder.width == 2048
    names = list(encoder.state_dict())
    assert len(names) == 318
    assert not [name for name in names if name.startswith("fc")]
    assert {"conv1.weight", "layer4.2.bn3.running_var", "layer2.0.downsample.0.weight"} <= {*names}


# weights


@pytest.fixture
def caches(tmp_path, monkeypatch):
    """Torchvision's cache in the tests' folder, timm's empty, and no network."""

    def refuse(url, *_arguments, **_options):
        raise OSError(f"Name or service not known: {url}")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(resnet_module, "try_to_load_from_cache", lambda *_: None)
    monkeypatch.setattr(resnet_module, "download_url_to_file", refuse)
    return tmp_path / "hub" / "checkpoints"


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
def test_failed_download_names_three_ways_out(caches, depth):
    with pytest.raises(FileNotFoundError) as error:
        find_imagenet_weights(f"resnet{depth}")
    message = str(error.value)
    assert "\n" not in message
    for part in (
        f"https://download.pytorch.org/models/resnet{depth}-",
        str(caches / f"resnet{depth}-"),
        "MODEL.PRETRAIN_PATH",
        "MODEL.PRETRAIN_CHOICE none",
        "OSError",
    ):
        assert part in message


@pytest.mark.parametrize("name", ["resnet50_ibn_a", "resnet101_ibn_a"])
def test_ibn_weights_are_never_downloaded(name):
    with pytest.raises(FileNotFoundError, match=rf"{name}-\*\.pth.*XingangPan/IBN-Net/releases"):
        find_imagenet_weights(name)


def test_torchvisions_cache_is_used(caches):
    caches.mkdir(parents=True)
    (caches / "resnet50-0676ba61.pth").touch()
    assert find_imagenet_weights("resnet50") == caches / "resnet50-0676ba61.pth"


@pytest.mark.usefixtures("caches")
def test_timms_cache_is_used(monkeypatch):
    found = {("timm/resnet34.tv_in1k", "model.safetensors"): "/cache/model.safetensors"}
    monkeypatch.setattr(resnet_module, "try_to_load_from_cache", lambda *key: found.get(key))
    assert find_imagenet_weights("resnet34") == Path("/cache/model.safetensors")


def test_download_goes_into_torchvisions_cache(caches, monkeypatch):
    def download(url, place, hash_prefix):
        assert url.endswith("/resnet18-f37072fd.pth")
        assert hash_prefix == "f37072fd"
        Path(place).write_text("weights")

    monkeypatch.setattr(resnet_module, "download_url_to_file", download)
    path = find_imagenet_weights("resnet18")
    assert path == caches / "resnet18-f37072fd.pth"
    assert path.read_text() == "weights"


def test_maps_are_finite_in_bfloat16(images):
    with warnings.catch_warnings(), torch.autocast("cpu", dtype=torch.bfloat16):
        warnings.simplefilter("error")
        maps = build_resnet("resnet50_ibn_a").maps(images)
    assert maps.dtype == torch.bfloat16
    assert torch.isfinite(maps.float()).all()

"""ResNets trained on ImageNet, plain and IBN-a, and where their weights are found."""

from __future__ import annotations

from math import ceil
from pathlib import Path
from typing import Any

import timm
import torch
from huggingface_hub import try_to_load_from_cache
from timm.models.resnet import ResNet
from torch import Tensor, nn
from torch.hub import download_url_to_file, get_dir
from torchvision.models import get_model_weights

from model.encoders.image_encoder import ImageEncoder, ImageFeatures
from model.encoders.kind import REMEDY, Backbone, EncoderOptions

IBN_ENDING = "_ibn_a"
IBN_WEIGHTS = "https://github.com/XingangPan/IBN-Net/releases"
IMAGENET_RESNETS = (
    *("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
    *("resnet50_ibn_a", "resnet101_ibn_a"),
)


class InstanceBatchNorm(nn.Module):
    """Instance norm of the first half of the channels, batch norm of the others.

    IBN-a of Pan et al., "Two at Once", ECCV 2018; parts are named as in its public weights.

    Args:
        num_features: channels D.
    """

    def __init__(self, num_features: int) -> None:
        super().__init__()
        half = num_features // 2
        self.IN = nn.InstanceNorm2d(half, affine=True)
        self.BN = nn.BatchNorm2d(num_features - half)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, D, h, w) -> (B, D, h, w)."""
        first, second = maps.split([self.IN.num_features, self.BN.num_features], dim=1)
        return torch.cat([self.IN(first), self.BN(second)], dim=1)


class ImageNetResNet(ImageEncoder):
    """A ResNet without its pooling and classifier; it has no space shared with text.

    Args:
        network: timm's ResNet; its parts are reused under torchvision's names.
        image_size: (height, width) in pixels.
        last_stride: stride of layer4; 1 keeps the resolution of layer3.
    """

    conv1: nn.Conv2d
    bn1: nn.BatchNorm2d
    act1: nn.ReLU
    maxpool: nn.MaxPool2d
    layer1: nn.Sequential
    layer2: nn.Sequential
    layer3: nn.Sequential
    layer4: nn.Sequential

    def __init__(self, network: ResNet, image_size: tuple[int, int], last_stride: int = 1) -> None:
        super().__init__()
        for name in ("conv1", "bn1", "act1", "maxpool", "layer1", "layer2", "layer3", "layer4"):
            self.add_module(name, getattr(network, name))
        if last_stride == 1:
            for module in self.layer4[0].modules():
                if isinstance(module, nn.Conv2d):  # the strided one and the shortcut's
                    module.stride = (1, 1)
        self.width = network.num_features
        self.joint_width = 0
        stride = 16 * last_stride
        self.grid = (ceil(image_size[0] / stride), ceil(image_size[1] / stride))
        self.to(memory_format=torch.channels_last)  # the fastest for convolutions

    def forward(self, images: Tensor, side_information: Tensor | None = None) -> ImageFeatures:
        """Pooled layer3 and layer4; the projected feature has width 0."""
        del side_information
        x = self._layer3_maps(images)
        final = self.layer4(x).mean((2, 3))
        return ImageFeatures(x.mean((2, 3)), final, final[:, :0])

    def maps(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) images -> (B, D, rows, columns) output of layer4."""
        maps: Tensor = self.layer4(self._layer3_maps(images))
        return maps

    def cam_layer(self) -> nn.Module:
        """The last stage."""
        return self.layer4

    def _layer3_maps(self, images: Tensor) -> Tensor:
        images = images.contiguous(memory_format=torch.channels_last)
        x = self.maxpool(self.act1(self.bn1(self.conv1(images))))
        maps: Tensor = self.layer3(self.layer2(self.layer1(x)))
        return maps


def build_imagenet_backbone(name: str, options: EncoderOptions) -> Backbone:
    """A ResNet with random weights.

    Args:
        name: one of IMAGENET_RESNETS; with the ending "_ibn_a", the bottlenecks of the first three
            layers have instance norm.
        options: image size and last stride count.
    """
    _refuse_tag(name, options.tag)
    network: Any = timm.create_model(name.removesuffix(IBN_ENDING), num_classes=0)
    if name.endswith(IBN_ENDING):
        for block in [*network.layer1, *network.layer2, *network.layer3]:
            block.bn1 = InstanceBatchNorm(block.bn1.num_features)
    return Backbone(ImageNetResNet(network, options.image_size, options.last_stride))


def _refuse_tag(name: str, tag: str) -> None:
    if tag:
        raise ValueError(
            f"MODEL.PRETRAIN_TAG: {name} is torchvision's, with one set of weights; timm has "
            f"others: MODEL.NAME timm/{name}.TAG"
        )


def find_imagenet_weights(name: str, tag: str = "") -> Path:
    """Torchvision's first ImageNet weights of a ResNet, which published ReID results start from.

    A cached file of torchvision or timm, else a download into torchvision's cache.

    Raises:
        ValueError: a tag, which these weights do not have.
        FileNotFoundError: they have to be fetched by hand, or the download failed; names every
            way out.
    """
    _refuse_tag(name, tag)
    if name.endswith(IBN_ENDING):
        raise FileNotFoundError(
            f"the ImageNet weights of {name} cannot be downloaded automatically: take "
            f"{name}-*.pth from {IBN_WEIGHTS} and {REMEDY}"
        )
    url = str(get_model_weights(name)["IMAGENET1K_V1"].url)
    archive = Path(get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]
    if archive.is_file():
        return archive
    cached = try_to_load_from_cache(f"timm/{name}.tv_in1k", "model.safetensors")
    if isinstance(cached, str):
        return Path(cached)
    try:
        archive.parent.mkdir(parents=True, exist_ok=True)
        download_url_to_file(url, str(archive), hash_prefix=archive.stem.rsplit("-", 1)[-1])
    except Exception as error:
        raise FileNotFoundError(
            f"the ImageNet weights of {name} are not on this machine and the download failed "
            f"({type(error).__name__}). Put {url} at {archive}, or {REMEDY}"
        ) from error
    return archive

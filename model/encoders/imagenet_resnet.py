"""ImageNet's ResNets, plain and IBN-a: as encoders to maps, and where their weights are found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import timm
import torch
from huggingface_hub import try_to_load_from_cache
from timm.models.resnet import ResNet
from torch import Tensor, nn
from torch.hub import download_url_to_file, get_dir
from torchvision.models import get_model_weights

IBN_ENDING = "_ibn_a"
IBN_WEIGHTS = "https://github.com/XingangPan/IBN-Net/releases"
REMEDY = (
    "set MODEL.PRETRAIN_PATH to a local copy, or start from random weights with "
    "MODEL.PRETRAIN_CHOICE none"
)


class InstanceBatchNorm(nn.Module):
    """Instance norm of the first half of the channels, batch norm of the others.

    IBN-a of Pan et al., "Two at Once", ECCV 2018; the parts have the names of its public weights.

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


class ImageNetResNet(nn.Module):
    """A ResNet without its pooling and classifier.

    Args:
        network: timm's ResNet; its parts are taken over, under torchvision's names.

    Attributes:
        width: channels D of the last map.
    """

    conv1: nn.Conv2d
    bn1: nn.BatchNorm2d
    act1: nn.ReLU
    maxpool: nn.MaxPool2d
    layer1: nn.Sequential
    layer2: nn.Sequential
    layer3: nn.Sequential
    layer4: nn.Sequential

    def __init__(self, network: ResNet) -> None:
        super().__init__()
        for name in ("conv1", "bn1", "act1", "maxpool", "layer1", "layer2", "layer3", "layer4"):
            self.add_module(name, getattr(network, name))
        self.width: int = network.num_features
        self.to(memory_format=torch.channels_last)  # what convolutions are fastest in

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) images -> (B, D, h, w) out of layer4."""
        images = images.contiguous(memory_format=torch.channels_last)
        x = self.maxpool(self.act1(self.bn1(self.conv1(images))))
        maps: Tensor = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return maps

    def maps(self, images: Tensor) -> Tensor:
        """The same, under the name that it has in CLIP's encoders."""
        maps: Tensor = self(images)
        return maps


def build_resnet(name: str, last_stride: int = 1) -> ImageNetResNet:
    """A ResNet with random weights.

    Args:
        name: "resnet50" or another depth of timm's; with the ending "_ibn_a", its bottlenecks have
            instance norm in the first three layers.
        last_stride: stride of layer4; 1 keeps the resolution of layer3.
    """
    network: Any = timm.create_model(name.removesuffix(IBN_ENDING), num_classes=0)
    if name.endswith(IBN_ENDING):
        for block in [*network.layer1, *network.layer2, *network.layer3]:
            block.bn1 = InstanceBatchNorm(block.bn1.num_features)
    if last_stride == 1:
        for module in network.layer4[0].modules():
            if isinstance(module, nn.Conv2d):  # the strided one and the shortcut's
                module.stride = (1, 1)
    return ImageNetResNet(network)


def find_imagenet_weights(name: str) -> Path:
    """Torchvision's first ImageNet weights of a ResNet, which published ReID results start from.

    Torchvision's or timm's cached file; where there is neither, it is downloaded.

    Raises:
        FileNotFoundError: they are neither cached nor to be had; says which file to put where.
    """
    if name.endswith(IBN_ENDING):
        raise FileNotFoundError(
            f"the ImageNet weights of {name} are not downloaded: take {name}-*.pth from "
            f"{IBN_WEIGHTS} and {REMEDY}"
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
            f"the ImageNet weights of {name} are not on this machine and could not be fetched "
            f"({type(error).__name__}). Put {url} at {archive}, {REMEDY}"
        ) from error
    return archive

"""CLIP's ResNet, with a finer last stage and features for ReID."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from open_clip.modified_resnet import AttentionPool2d, ModifiedResNet
from torch import Tensor, nn

from model.encoders.image_encoder import ImageEncoder, ImageFeatures
from model.encoders.positions import resize_position_embedding


class ClipResNet(ImageEncoder):
    """CLIP's ResNet with a finer last stage (CLIP-ReID, section 3.3).

    Args:
        tower: open_clip's ResNet; its parts are reused under OpenAI's names.
        image_size: (height, width) in pixels, multiples of 16 * last_stride.
        last_stride: stride of layer4; 1 keeps the resolution of layer3.

    Raises:
        ValueError: the image size is not a multiple of 16 * last_stride.
    """

    conv1: nn.Conv2d
    conv2: nn.Conv2d
    conv3: nn.Conv2d
    bn1: nn.BatchNorm2d
    bn2: nn.BatchNorm2d
    bn3: nn.BatchNorm2d
    act1: nn.ReLU
    act2: nn.ReLU
    act3: nn.ReLU
    avgpool: nn.AvgPool2d
    layer1: nn.Sequential
    layer2: nn.Sequential
    layer3: nn.Sequential
    layer4: nn.Sequential
    attnpool: AttentionPool2d

    position_embedding = "attnpool.positional_embedding"

    def __init__(
        self, tower: ModifiedResNet, image_size: tuple[int, int], last_stride: int = 1
    ) -> None:
        super().__init__()
        if last_stride == 1:
            tower.layer4[0].avgpool = nn.Identity()
            tower.layer4[0].downsample[0] = nn.Identity()
        total_stride = 16 * last_stride
        if image_size[0] % total_stride or image_size[1] % total_stride:
            raise ValueError(
                f"INPUT.SIZE_TRAIN: {list(image_size)}; this ResNet needs multiples of "
                f"{total_stride}"
            )
        self.grid = (image_size[0] // total_stride, image_size[1] // total_stride)
        for name, part in tower.named_children():
            self.add_module(name, part)
        pool = tower.attnpool
        pool.positional_embedding = nn.Parameter(
            resize_position_embedding(pool.positional_embedding.detach(), self.grid)
        )
        self.joint_width, self.width = pool.c_proj.weight.shape
        self.to(memory_format=torch.channels_last)  # the fastest for convolutions

    def forward(self, images: Tensor, side_information: Tensor | None = None) -> ImageFeatures:
        """Pooled layer3 and layer4, and CLIP's attention pooling of layer4."""
        del side_information
        x = self._layer3_maps(images)
        y = self.layer4(x)
        return ImageFeatures(x.mean((2, 3)), y.mean((2, 3)), self._attention_pool(y))

    def maps(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) images -> (B, D, rows, columns) output of layer4."""
        maps: Tensor = self.layer4(self._layer3_maps(images))
        return maps

    def beside_maps(self) -> Sequence[nn.Parameter]:
        """All parameters of the attention pooling."""
        return list(self.attnpool.parameters())

    def cam_layer(self) -> nn.Module:
        """The last stage."""
        return self.layer4

    def _layer3_maps(self, images: Tensor) -> Tensor:
        images = images.contiguous(memory_format=torch.channels_last)
        x = self.act1(self.bn1(self.conv1(images)))
        x = self.act2(self.bn2(self.conv2(x)))
        x = self.act3(self.bn3(self.conv3(x)))
        maps: Tensor = self.layer3(self.layer2(self.layer1(self.avgpool(x))))
        return maps

    def _attention_pool(self, maps: Tensor) -> Tensor:
        """(B, D, h, w) -> (B, E): the mean token attends to itself and to all positions."""
        pool = self.attnpool
        tokens = maps.flatten(2).transpose(1, 2)  # (B, hw, D)
        tokens = torch.cat([tokens.mean(1, keepdim=True), tokens], dim=1)
        tokens = tokens + pool.positional_embedding.to(tokens.dtype)

        def heads(x: Tensor) -> Tensor:
            return x.unflatten(-1, (pool.num_heads, -1)).transpose(1, 2)

        mixed = F.scaled_dot_product_attention(
            heads(pool.q_proj(tokens[:, :1])),
            heads(pool.k_proj(tokens)),
            heads(pool.v_proj(tokens)),
        )
        return pool.c_proj(mixed.transpose(1, 2).flatten(2)).squeeze(1)

"""The image encoders: CLIP's ViT and ResNet with what ReID adds to their forward pass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from open_clip.modified_resnet import AttentionPool2d, ModifiedResNet
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint


@dataclass(frozen=True, slots=True)
class ImageFeatures:
    """What an image encoder gives for B images (CLIP-ReID, section 3).

    Attributes:
        last: (B, D_last) before the last block: the ViT's class token, the ResNet's pooled layer3.
        final: (B, D) after the last block: the ViT's class token after `ln_post`, pooled layer4.
        projected: (B, E) in the space shared with text.
    """

    last: Tensor
    final: Tensor
    projected: Tensor


def resize_position_embedding(
    embedding: Tensor, new_grid: tuple[int, int], old_grid: tuple[int, int] | None = None
) -> Tensor:
    """Resample a grid of position embeddings bilinearly; the first row (class, mean) is kept.

    Args:
        embedding: (1 + rows * columns, D), first token first, as OpenAI's CLIP stores it.
        new_grid: (rows, columns) of patches, e.g. (16, 8) for 256x128 at stride 16.
        old_grid: (rows, columns) of `embedding`; None means a square.

    Returns:
        (1 + new rows * new columns, D).

    Raises:
        ValueError: the rows do not fill `old_grid`.
    """
    patches = len(embedding) - 1
    side = round(patches**0.5)
    rows, columns = old_grid or (side, side)
    if rows * columns != patches:
        raise ValueError(f"{patches} position embeddings do not fill a {rows}x{columns} grid")
    grid = embedding[1:].reshape(1, rows, columns, -1).permute(0, 3, 1, 2)
    grid = F.interpolate(grid.float(), size=new_grid, mode="bilinear", align_corners=False)
    grid = grid.permute(0, 2, 3, 1).flatten(0, 2).to(embedding.dtype)
    return torch.cat([embedding[:1], grid])


def patch_grid(
    image_size: tuple[int, int], patch: tuple[int, int], stride: tuple[int, int]
) -> tuple[int, int]:
    """(rows, columns) of patches; raises ValueError where stride or size does not fit the patch."""
    if min(image_size) < max(patch):
        raise ValueError(
            f"INPUT.SIZE_TRAIN: {list(image_size)} is smaller than a patch {list(patch)}"
        )
    if stride[0] > patch[0] or stride[1] > patch[1]:
        raise ValueError(
            f"MODEL.STRIDE_SIZE: {list(stride)} is larger than the patch {list(patch)}, pixels "
            f"between patches would be lost; set it to {list(patch)} or less"
        )
    rows = (image_size[0] - patch[0]) // stride[0] + 1
    columns = (image_size[1] - patch[1]) // stride[1] + 1
    return rows, columns


@contextmanager
def _attention_kernel(device: torch.device) -> Iterator[None]:
    """Torch's fused attention, but products and a softmax for training in bfloat16 on a CPU.

    There, the backward pass of the fused kernel takes several times as long.
    """
    on_cpu = device.type == "cpu" and torch.is_autocast_enabled("cpu")
    if not on_cpu or not torch.is_grad_enabled() or torch.compiler.is_compiling():
        yield
        return
    allowed = torch.backends.cuda.fp16_bf16_reduction_math_sdp_allowed()
    torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(enabled=True)  # of CPUs as well
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(enabled=allowed)


def _run_block(block: nn.Module, tokens: Tensor) -> Tensor:
    with _attention_kernel(tokens.device):
        output: Tensor = block(tokens)
    return output


class ViTEncoder(nn.Module):
    """CLIP's vision transformer for any image size and stride (CLIP-ReID, section 3.3).

    With `grad_checkpointing` set, blocks are computed again in the backward pass instead of keeping
    what is inside them.

    Args:
        tower: open_clip's transformer; its parts are taken over, under OpenAI's names.
        image_size: (height, width) in pixels.
        stride: (rows, columns) between patches; below the patch size they overlap.

    Raises:
        ValueError: stride or size does not fit the patch.
    """

    def __init__(
        self, tower: VisionTransformer, image_size: tuple[int, int], stride: tuple[int, int]
    ) -> None:
        super().__init__()
        patch = tower.conv1.kernel_size
        self.grid = patch_grid(image_size, (patch[0], patch[1]), stride)
        self.class_embedding = tower.class_embedding
        self.positional_embedding = nn.Parameter(
            resize_position_embedding(tower.positional_embedding.detach(), self.grid)
        )
        self.proj = tower.proj
        self.conv1 = tower.conv1
        self.conv1.stride = stride
        self.ln_pre = tower.ln_pre
        self.transformer = tower.transformer
        self.ln_post = tower.ln_post
        self.width, self.projected_width = self.proj.shape
        self.grad_checkpointing = False
        self.triplet_widths = (self.width, self.width, self.projected_width)

    def forward(self, images: Tensor, side_information: Tensor | None = None) -> ImageFeatures:
        """(B, 3, H, W) images; side_information (B, D) is added to the class token."""
        tokens = self._before_last_block(images, side_information)
        last = tokens[:, 0]
        final = self.ln_post(self._last_block(tokens)[:, 0])
        return ImageFeatures(last, final, final @ self.proj)

    def maps(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) images -> (B, D, h, w): the patches' tokens after `ln_post`, as a grid."""
        tokens = self._before_last_block(images)
        patches = self.ln_post(self._last_block(tokens)[:, 1:])  # (B, hw, D)
        return patches.transpose(1, 2).unflatten(2, self.grid)

    def _before_last_block(self, images: Tensor, side_information: Tensor | None = None) -> Tensor:
        """(B, 1 + hw, D) tokens, the class token first."""
        # Tokens stay in the parameters' format; under autocast only the products are rounded.
        patches = self.conv1(images).flatten(2).transpose(1, 2).to(self.class_embedding.dtype)
        start = self.class_embedding.expand(images.shape[0], 1, -1)
        if side_information is not None:
            start = start + side_information[:, None]
        tokens = torch.cat([start, patches], dim=1)
        tokens = self.ln_pre(tokens + self.positional_embedding)
        *blocks, _ = self.transformer.resblocks
        for block in blocks:
            if self.grad_checkpointing and torch.is_grad_enabled():
                tokens = checkpoint(_run_block, block, tokens, use_reentrant=False)
            else:
                tokens = _run_block(block, tokens)
        return tokens

    def _last_block(self, tokens: Tensor) -> Tensor:
        return _run_block(self.transformer.resblocks[-1], tokens)


class ResNetEncoder(nn.Module):
    """CLIP's ResNet with a finer last stage (CLIP-ReID, section 3.3).

    Args:
        tower: open_clip's ResNet; its parts are taken over, under OpenAI's names.
        image_size: (height, width) in pixels, multiples of 16 * last_stride.
        last_stride: stride of layer4; 1 keeps the resolution of layer3.

    Raises:
        ValueError: the image size is no such multiple.
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
        self.projected_width, self.width = pool.c_proj.weight.shape
        self.triplet_widths = (self.width // 2, self.width, self.projected_width)
        self.to(memory_format=torch.channels_last)  # what convolutions are fastest in

    def forward(self, images: Tensor, side_information: Tensor | None = None) -> ImageFeatures:
        """(B, 3, H, W) images; a ResNet has no class token, side information is not used."""
        del side_information
        x = self._layer3_maps(images)
        y = self.layer4(x)
        return ImageFeatures(x.mean((2, 3)), y.mean((2, 3)), self._attention_pool(y))

    def maps(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) images -> (B, D, h, w) out of layer4."""
        maps: Tensor = self.layer4(self._layer3_maps(images))
        return maps

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


def build_image_encoder(
    tower: nn.Module, image_size: tuple[int, int], stride: tuple[int, int], last_stride: int
) -> ViTEncoder | ResNetEncoder:
    """The ReID encoder around open_clip's image tower; raises ValueError for other towers."""
    if isinstance(tower, VisionTransformer):
        return ViTEncoder(tower, image_size, stride)
    if isinstance(tower, ModifiedResNet):
        return ResNetEncoder(tower, image_size, last_stride)
    raise ValueError(f"MODEL.NAME: an image tower of type {type(tower).__name__} is not supported")

"""The image encoders: CLIP's ViT and ResNet with what ReID adds to their forward pass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from open_clip.modified_resnet import ModifiedResNet
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint

from model.encoders.clip_resnet import ResNetEncoder
from model.encoders.image_encoder import ImageFeatures
from model.encoders.positions import patch_grid, resize_position_embedding


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


def build_image_encoder(
    tower: nn.Module, image_size: tuple[int, int], stride: tuple[int, int], last_stride: int
) -> ViTEncoder | ResNetEncoder:
    """The ReID encoder around open_clip's image tower; raises ValueError for other towers."""
    if isinstance(tower, VisionTransformer):
        return ViTEncoder(tower, image_size, stride)
    if isinstance(tower, ModifiedResNet):
        return ResNetEncoder(tower, image_size, last_stride)
    raise ValueError(f"MODEL.NAME: an image tower of type {type(tower).__name__} is not supported")

"""CLIP's vision transformer, with strides, side information and features for ReID."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

import torch
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint

from model.encoders.attention_weights import record_multihead
from model.encoders.image_encoder import ImageEncoder, ImageFeatures
from model.encoders.positions import patch_grid, resize_position_embedding


@contextmanager
def _attention_kernel(device: torch.device) -> Iterator[None]:
    """Torch's fused attention, except for training in bfloat16 on a CPU.

    There the backward pass of the fused kernel takes several times as long as plain products.
    """
    on_cpu = device.type == "cpu" and torch.is_autocast_enabled("cpu")
    if not on_cpu or not torch.is_grad_enabled() or torch.compiler.is_compiling():
        yield
        return
    allowed = torch.backends.cuda.fp16_bf16_reduction_math_sdp_allowed()
    torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(enabled=True)  # holds for CPUs too
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(enabled=allowed)


def _run_block(block: nn.Module, tokens: Tensor) -> Tensor:
    with _attention_kernel(tokens.device):
        output: Tensor = block(tokens)
    return output


class ClipViT(ImageEncoder):
    """CLIP's vision transformer for any image size and stride (CLIP-ReID, section 3.3).

    Args:
        tower: open_clip's transformer; its parts are reused under OpenAI's names.
        image_size: (height, width) in pixels.
        stride: (rows, columns) between patches; below the patch size they overlap.
        grad_checkpointing: recompute blocks in the backward pass instead of keeping their
            activations.

    Raises:
        ValueError: stride or size does not fit the patch; a tower that pools otherwise than by
            its class token.
    """

    position_embedding = "positional_embedding"
    takes_side_information = True

    def __init__(
        self,
        tower: VisionTransformer,
        image_size: tuple[int, int],
        stride: tuple[int, int],
        *,
        grad_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        if tower.attn_pool is not None or tower.pool_type != "tok":
            raise ValueError(
                "MODEL.NAME: this ViT pools its tokens (CoCa, CLIPA); only those that end in a "
                "class token are supported"
            )
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
        self.width, self.joint_width = self.proj.shape
        self.grad_checkpointing = grad_checkpointing

    def forward(self, images: Tensor, side_information: Tensor | None = None) -> ImageFeatures:
        """Features of the class token, to which (B, D) side information is added."""
        tokens = self._before_last_block(images, side_information)
        last = tokens[:, 0]
        final = self.ln_post(self._last_block(tokens)[:, 0])
        return ImageFeatures(last, final, final @ self.proj)

    def maps(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) images -> (B, D, rows, columns): patch tokens after `ln_post`."""
        tokens = self._before_last_block(images)
        patches = self.ln_post(self._last_block(tokens)[:, 1:])  # (B, patches, D)
        return patches.transpose(1, 2).unflatten(2, self.grid)

    def beside_maps(self) -> Sequence[nn.Parameter]:
        """The matrix into the joint space."""
        return (self.proj,)

    def patch_convolution(self) -> nn.Module:
        """`conv1`, one stride per patch."""
        return self.conv1

    def recorded_attention(self) -> AbstractContextManager[list[Tensor]]:
        """The weights of every block."""
        return record_multihead([block.attn for block in self.transformer.resblocks])

    def _before_last_block(self, images: Tensor, side_information: Tensor | None = None) -> Tensor:
        """(B, 1 + patches, D) tokens, the class token first."""
        # Tokens keep the parameters' dtype; autocast rounds the products only.
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

"""timm's plain vision transformers, with strides, side information and features for ReID."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch
from timm.layers import PatchEmbed
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from model.encoders.attention_weights import record_timm
from model.encoders.image_encoder import ImageFeatures
from model.encoders.positions import fit_position_embedding, patch_grid
from model.encoders.timm_network import TimmNetwork


def is_plain_vit(network: nn.Module) -> bool:
    """Whether a network is timm's own ViT, whose patches are cut by one convolution."""
    return type(network) is VisionTransformer and type(network.patch_embed) is PatchEmbed


class TimmViT(TimmNetwork):
    """A ViT of ImageNet, DINO, DINOv2, SigLIP, ... for any image size and stride.

    The features are those of CLIP's ViT: `last` is the class token before the last block, or
    without a class token the mean over all tokens.

    Args:
        network: of any image size; its patches and position embeddings are changed.
        image_size: (height, width) in pixels.
        stride: (rows, columns) between patches; below the patch size they overlap.
        projection: as in `TimmNetwork`, like the following.

    Raises:
        ValueError: stride or size does not fit the patch.
    """

    takes_side_information = True

    def __init__(
        self,
        network: Any,
        image_size: tuple[int, int],
        stride: tuple[int, int],
        *,
        projection: nn.Module | None = None,
        joint_width: int = 0,
        grad_checkpointing: bool = False,
    ) -> None:
        adjacent = network.patch_embed.img_size  # before patches may overlap
        super().__init__(network, adjacent, projection=projection, joint_width=joint_width)
        self.grid = set_patches(network, image_size, stride)
        self.grad_checkpointing = grad_checkpointing

    def forward(self, images: Tensor, side_information: Tensor | None = None) -> ImageFeatures:
        """Features of the class token, or without one of the patches' pooling."""
        tokens = self._before_last_block(images, side_information)
        last = tokens[:, 0] if self.network.has_class_token else tokens.mean(1)
        final = self.network.forward_head(self._last_block(tokens), pre_logits=True)
        return ImageFeatures(last, final, self.project(final))

    def maps(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) images -> (B, D, rows, columns): patch tokens after the last norm."""
        tokens = self._last_block(self._before_last_block(images))
        return tokens[:, self.num_prefix_tokens :].transpose(1, 2).unflatten(2, self.grid)

    def _before_last_block(self, images: Tensor, side_information: Tensor | None = None) -> Tensor:
        """(B, prefix + patches, D) tokens."""
        network = self.network
        tokens = network._pos_embed(network.patch_embed(images))
        if side_information is not None:
            place = slice(0, 1) if network.has_class_token else slice(None)
            added = torch.zeros_like(tokens)
            added[:, place] = side_information[:, None].to(tokens.dtype)
            tokens = tokens + added
        tokens = network.norm_pre(network.patch_drop(tokens))
        *blocks, _ = network.blocks
        for block in blocks:
            if self.grad_checkpointing and torch.is_grad_enabled():
                tokens = checkpoint(block, tokens, use_reentrant=False)
            else:
                tokens = block(tokens)
        return tokens

    def _last_block(self, tokens: Tensor) -> Tensor:
        normed: Tensor = self.network.norm(self.network.blocks[-1](tokens))
        return normed

    def patch_convolution(self) -> nn.Module:
        """The convolution of the patches."""
        convolution: nn.Module = self.network.patch_embed.proj
        return convolution

    def recorded_attention(self) -> AbstractContextManager[list[Tensor]] | None:
        """The weights of every block; None if the feature is not that of the class token."""
        if self.network.global_pool != "token" or self.network.attn_pool is not None:
            return None
        return record_timm([block.attn for block in self.network.blocks])


def set_patches(
    network: Any, image_size: tuple[int, int], stride: tuple[int, int]
) -> tuple[int, int]:
    """Cut images of another size into patches with another stride; resize the position embedding.

    Returns:
        (rows, columns) of patches.

    Raises:
        ValueError: stride or size does not fit the patch.
    """
    patches: Any = network.patch_embed
    grid = patch_grid(image_size, patches.patch_size, stride)
    patches.proj.stride = stride
    prefix = 0 if network.no_embed_class else network.num_prefix_tokens
    table = network.pos_embed
    if table is not None:
        network.pos_embed = nn.Parameter(
            fit_position_embedding(table.detach()[0], grid, prefix)[None]
        )
    network.dynamic_img_size = False  # which would resize the embedding in every forward pass
    patches.flatten = True
    patches.img_size = None  # which timm would compare images with
    patches.grid_size = grid
    patches.num_patches = grid[0] * grid[1]
    return grid

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
    without a class token the mean over the patches.

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
        set_patches(network, image_size, stride)
        super().__init__(network, image_size, projection=projection, joint_width=joint_width)
        self.grad_checkpointing = grad_checkpointing
        self.grid = network.patch_embed.grid_size  # timm takes patches for adjacent
        self.num_prefix_tokens = network.num_prefix_tokens
        self.map_width = network.embed_dim

    def forward(self, images: Tensor, side_information: Tensor | None = None) -> ImageFeatures:
        """Features of the class token, or without one of the patches' pooling."""
        network = self.network
        tokens = network._pos_embed(network.patch_embed(images))
        if side_information is not None:
            place = slice(0, 1) if network.has_class_token else slice(None)
            added = torch.zeros_like(tokens)
            added[:, place] = side_information[:, None].to(tokens.dtype)
            tokens = tokens + added
        tokens = network.norm_pre(network.patch_drop(tokens))
        *blocks, end = network.blocks
        for block in blocks:
            if self.grad_checkpointing and torch.is_grad_enabled():
                tokens = checkpoint(block, tokens, use_reentrant=False)
            else:
                tokens = block(tokens)
        last = tokens[:, 0] if network.has_class_token else tokens.mean(1)
        final = network.forward_head(network.norm(end(tokens)), pre_logits=True)
        return ImageFeatures(last, final, self.project(final))

    def patch_convolution(self) -> nn.Module:
        """The convolution of the patches."""
        convolution: nn.Module = self.network.patch_embed.proj
        return convolution

    def recorded_attention(self) -> AbstractContextManager[list[Tensor]] | None:
        """The weights of every block; None without a class token that they could start from."""
        if not self.network.has_class_token:
            return None
        return record_timm([block.attn for block in self.network.blocks])


def set_patches(network: Any, image_size: tuple[int, int], stride: tuple[int, int]) -> None:
    """Cut images of another size into patches with another stride; resize the position embedding.

    Raises:
        ValueError: stride or size does not fit the patch.
    """
    patches: Any = network.patch_embed
    grid = patch_grid(image_size, patches.patch_size, stride)
    patches.proj.stride = stride
    prefix = 0 if network.no_embed_class else network.num_prefix_tokens
    table = network.pos_embed
    if table is not None:
        rows = table.detach()[0, prefix:]
        resized = fit_position_embedding(torch.cat([rows[:1], rows]), grid)[1:]
        network.pos_embed = nn.Parameter(torch.cat([table.detach()[0, :prefix], resized])[None])
    network.dynamic_img_size = False  # which would resize the embedding in every forward pass
    patches.flatten = True
    patches.img_size = None  # which timm would compare images with
    patches.grid_size = grid
    patches.num_patches = grid[0] * grid[1]

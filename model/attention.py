"""Where an image tower looks: attention of a ViT, class activation of a ResNet."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from model.encoders.clip_vit import ViTEncoder
from model.reid_model import ReIDModel
from model.unsupervised import UnsupervisedReID

VIT_METHODS = ("rollout", "class-token")
RESNET_METHODS = ("grad-cam",)


def attention_methods(model: ReIDModel) -> tuple[str, ...]:
    """The methods that a model's image tower allows, the usual one first.

    None where the descriptor is pooled from a ViT's patch tokens: both methods start from the class
    token, which is not in it.
    """
    if not isinstance(model.image_encoder, ViTEncoder):
        return RESNET_METHODS
    pooled = isinstance(model, UnsupervisedReID) and model.pooling is not None
    return () if pooled else VIT_METHODS


def attention_maps(
    model: ReIDModel,
    images: Tensor,
    camids: Tensor | None = None,
    viewids: Tensor | None = None,
    *,
    method: str,
) -> Tensor:
    """How much every place of an image counts for its descriptor.

    rollout: Abnar and Zuidema (2020), through all blocks.
    class-token: what the class token attends to in the last block, which makes the final feature.
    grad-cam: Selvaraju et al. (2017) on the last layer's maps. There is no class to explain; the
    score is the dot product of the descriptor f with its own value, whose gradient is f.

    Args:
        model: in evaluation mode.
        images: (B, 3, H, W) normalized.
        camids: (B,) or None, as in `ReIDModel.embed`.
        viewids: (B,) or None.
        method: one of `attention_methods(model)`.

    Returns:
        (B, rows, columns) from 0, on the grid of the tower's patches or last maps; the scale has no
        meaning from one image to another.

    Raises:
        ValueError: the method does not fit the tower.
    """
    encoder = model.image_encoder
    methods = attention_methods(model)
    if method not in methods:
        kind = "ViT" if isinstance(encoder, ViTEncoder) else "ResNet"
        raise ValueError(f"{method}: this {kind} has {' or '.join(methods) or 'no such maps'}")
    if not isinstance(encoder, ViTEncoder):
        layer = encoder.get_submodule("layer4")
        return grad_cam(lambda: model.embed(images, camids, viewids), layer)
    with torch.no_grad(), recorded_attention(encoder) as weights:
        model.embed(images, camids, viewids)
    tokens = attention_rollout(weights) if method == "rollout" else weights[-1][:, 0]
    return tokens[:, 1:].unflatten(1, encoder.grid)


@contextmanager
def recorded_attention(encoder: ViTEncoder) -> Iterator[list[Tensor]]:
    """A list that forward passes of the encoder fill with their attention weights.

    Every block adds (B, T, T), the mean over its heads; row i says where token i looks, and sums
    to 1. The blocks' own attention is asked for its weights, nothing is computed a second way.
    """
    weights: list[Tensor] = []

    def ask(
        _: nn.Module, arguments: tuple[Any, ...], options: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return arguments, {**options, "need_weights": True, "average_attn_weights": True}

    def keep(_: nn.Module, __: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        weights.append(output[1].float())

    handles = []
    for block in encoder.transformer.resblocks:
        handles.append(block.attn.register_forward_pre_hook(ask, with_kwargs=True))
        handles.append(block.attn.register_forward_hook(keep))
    try:
        yield weights
    finally:
        for handle in handles:
            handle.remove()


def attention_rollout(weights: Sequence[Tensor]) -> Tensor:
    """How much of every first token reaches the last class token (Abnar and Zuidema, 2020, eq. 1).

    A block passes on A = (W + I) / 2: half comes by attention, half past it. The result is the
    class token's row of A_L ... A_2 A_1.

    Args:
        weights: per block (B, T, T), first block first.

    Returns:
        (B, T), rows that sum to 1.
    """
    row = torch.zeros_like(weights[0][:, :1])
    row[:, :, 0] = 1
    for matrix in reversed(weights):
        row = (row @ matrix + row) / 2
    return row[:, 0]


def grad_cam(embed: Callable[[], Tensor], layer: nn.Module) -> Tensor:
    """Grad-CAM of descriptors (Selvaraju et al., 2017, eq. 1 and 2).

    A channel counts by its mean gradient; the sum of the maps so weighted, where it is positive.

    Args:
        embed: a forward pass through the layer that ends in (B, D) descriptors f.
        layer: gives (B, C, h, w) maps.

    Returns:
        (B, h, w) of the score f * f', f' being the value of f; not negative.
    """
    kept: list[Tensor] = []

    def cut(_: nn.Module, __: tuple[Any, ...], output: Tensor) -> Tensor:
        kept.append(output.detach().requires_grad_())  # no gradient is needed before the layer
        return kept[-1]

    handle = layer.register_forward_hook(cut)
    try:
        with torch.enable_grad():
            features = embed()
            score = (features * features.detach()).sum()
    finally:
        handle.remove()
    (maps,) = kept
    (gradients,) = torch.autograd.grad(score, maps)
    channels = gradients.mean((2, 3), keepdim=True)
    return (channels * maps.detach()).sum(1).relu()

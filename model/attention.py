"""Attention maps of an image encoder: attention of a ViT, Grad-CAM of a ResNet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from model.reid_model import ReIDModel
from model.unsupervised import UnsupervisedReID

TOKEN_METHODS = ("rollout", "class-token")
MAP_METHODS = ("grad-cam",)


def attention_methods(model: ReIDModel) -> tuple[str, ...]:
    """The methods a model supports, the default first.

    None for a ViT whose descriptor pools patch tokens: the token methods start from the class
    token, which that descriptor does not contain.
    """
    encoder = model.image_encoder
    if encoder.recorded_attention() is not None:
        pooled = isinstance(model, UnsupervisedReID) and model.pooling is not None
        return () if pooled else TOKEN_METHODS
    return () if encoder.cam_layer() is None else MAP_METHODS


def attention_maps(
    model: ReIDModel,
    images: Tensor,
    camids: Tensor | None = None,
    viewids: Tensor | None = None,
    *,
    method: str,
) -> Tensor:
    """How much every position of an image contributes to its descriptor.

    rollout: Abnar and Zuidema (2020), through all blocks.
    class-token: attention of the class token in the last block, which yields the final feature.
    grad-cam: Selvaraju et al. (2017) on the last layer's maps. Without a class to explain, the
    score is the dot product of the descriptor f with its own value, whose gradient is f.

    Args:
        model: in evaluation mode.
        images: (B, 3, H, W) normalized.
        camids: (B,) or None, as in `ReIDModel.embed`.
        viewids: (B,) or None.
        method: one of `attention_methods(model)`.

    Returns:
        (B, rows, columns), not negative, on the encoder's grid; scales differ between images.

    Raises:
        ValueError: the model does not support the method.
    """
    encoder = model.image_encoder
    methods = attention_methods(model)
    if method not in methods:
        supported = " and ".join(methods) or "no attention maps"
        raise ValueError(f"{method}: this model supports {supported}")
    layer, recording = encoder.cam_layer(), encoder.recorded_attention()
    if recording is None:
        assert layer is not None  # a method of MAP_METHODS
        return grad_cam(lambda: model.embed(images, camids, viewids), layer)
    with torch.no_grad(), recording as weights:
        model.embed(images, camids, viewids)
    tokens = attention_rollout(weights) if method == "rollout" else weights[-1][:, 0]
    return tokens[:, encoder.num_prefix_tokens :].unflatten(1, encoder.grid)


def attention_rollout(weights: Sequence[Tensor]) -> Tensor:
    """Share of every input token in the final class token (Abnar and Zuidema, 2020, eq. 1).

    A block passes on A = (W + I) / 2, half by attention and half by its residual. The result is
    the class token's row of A_L ... A_2 A_1.

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

    Channels are weighted by their mean gradient and summed; negative sums become 0.

    Args:
        embed: a forward pass through the layer that returns (B, D) descriptors f.
        layer: its output is (B, C, h, w) maps.

    Returns:
        (B, h, w) for the score f * f', where f' is the constant value of f.
    """
    kept: list[Tensor] = []

    def cut(_: nn.Module, __: tuple[Any, ...], output: Tensor) -> Tensor:
        kept.append(output.detach().requires_grad_())  # no gradient needed before the layer
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

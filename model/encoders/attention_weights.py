"""Recording the attention weights that a transformer's own layers compute."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn


@contextmanager
def record_multihead(layers: Sequence[nn.Module]) -> Iterator[list[Tensor]]:
    """The weights of torch's `MultiheadAttention` layers.

    Yields:
        A list to which every layer appends (B, T, T), the mean over its heads; row i holds the
        attention of token i and sums to 1.
    """
    weights: list[Tensor] = []

    def request_weights(
        _: nn.Module, arguments: tuple[Any, ...], options: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return arguments, {**options, "need_weights": True, "average_attn_weights": True}

    def collect(_: nn.Module, __: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        weights.append(output[1].float())

    with ExitStack() as handles:
        for layer in layers:
            handles.enter_context(
                layer.register_forward_pre_hook(request_weights, with_kwargs=True)
            )
            handles.enter_context(layer.register_forward_hook(collect))
        yield weights


@contextmanager
def record_timm(layers: Sequence[Any]) -> Iterator[list[Tensor]]:
    """The weights of timm's attention layers, as `record_multihead`.

    Without torch's fused kernel, a layer passes its weights through its dropout `attn_drop`.
    """
    weights: list[Tensor] = []

    def collect(_: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        weights.append(arguments[0].mean(1).float())

    fused = [layer.fused_attn for layer in layers]
    try:
        with ExitStack() as handles:
            for layer in layers:
                layer.fused_attn = False
                handles.enter_context(layer.attn_drop.register_forward_pre_hook(collect))
            yield weights
    finally:
        for layer, before in zip(layers, fused, strict=True):
            layer.fused_attn = before

"""Learning rates and weight decays by kind of parameter (CLIP-ReID, section 4.2)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn


def image_stage_groups(
    named_parameters: Iterable[tuple[str, nn.Parameter]],
    *,
    base_lr: float,
    weight_decay: float,
    bias_lr_factor: float,
    weight_decay_bias: float,
    large_fc_lr: bool = False,
) -> list[dict[str, Any]]:
    """Parameter groups "weights", "biases" and, with `large_fc_lr`, "classifiers".

    A bias is a parameter with "bias" in its name, such as `in_proj_bias`. Frozen parameters and
    empty groups are left out.

    Args:
        named_parameters: of the model.
        base_lr: learning rate of weights.
        weight_decay: of weights and classifiers.
        bias_lr_factor: factor on `base_lr` for biases.
        weight_decay_bias: of biases.
        large_fc_lr: train the classifiers at twice `base_lr`.
    """
    weights: list[nn.Parameter] = []
    biases: list[nn.Parameter] = []
    classifiers: list[nn.Parameter] = []
    for name, parameter in named_parameters:
        if not parameter.requires_grad:
            continue
        if "bias" in name:
            biases.append(parameter)
        elif large_fc_lr and name.startswith("classifier"):
            classifiers.append(parameter)
        else:
            weights.append(parameter)
    groups = [
        {"name": "weights", "params": weights, "lr": base_lr, "weight_decay": weight_decay},
        {
            "name": "biases",
            "params": biases,
            "lr": base_lr * bias_lr_factor,
            "weight_decay": weight_decay_bias,
        },
        {
            "name": "classifiers",
            "params": classifiers,
            "lr": base_lr * 2,
            "weight_decay": weight_decay,
        },
    ]
    return [group for group in groups if group["params"]]

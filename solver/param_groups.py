"""Which parameters learn at which rate (CLIP-ReID, section 4.2)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn


def image_stage_groups(
    named_parameters: Iterable[tuple[str, nn.Parameter]],
    *,
    base_lr: float,
    weight_decay: float,
    bias_lr_factor: float = 1.0,
    weight_decay_bias: float = 0.0,
    large_fc_lr: bool = False,
) -> list[dict[str, Any]]:
    """Parameter groups "weights", "biases" and, on request, "classifiers"; empty ones left out.

    A parameter is a bias when its name contains "bias" (so `in_proj_bias` is one). Parameters
    without gradient are left out.

    Args:
        named_parameters: of the model.
        base_lr: learning rate of weights.
        weight_decay: of weights.
        bias_lr_factor: factor on `base_lr` for biases.
        weight_decay_bias: of biases.
        large_fc_lr: classifiers learn at twice the rate.
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

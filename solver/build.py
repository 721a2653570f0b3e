"""Optimizers and schedules as a configuration describes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from timm.scheduler import CosineLRScheduler
from torch import nn
from torch.optim import Optimizer
from yacs.config import CfgNode

from solver.param_groups import image_stage_groups
from solver.schedule import Schedule, WarmupMultiStep


def build_prompt_optimizer(cfg: CfgNode, context: nn.Parameter) -> Optimizer:
    """The optimizer of stage 1, which trains only the prompts' context tokens."""
    stage = cfg.SOLVER.STAGE1
    group = {
        "name": "weights",
        "params": [context],
        "lr": stage.BASE_LR,
        "weight_decay": stage.WEIGHT_DECAY,
    }
    return build_optimizer(stage.OPTIMIZER_NAME, [group], stage.MOMENTUM)


def build_prompt_schedule(cfg: CfgNode, optimizer: Optimizer) -> Schedule:
    """Stage 1: linear warm-up, then a cosine unshifted by the warm-up."""
    stage = cfg.SOLVER.STAGE1
    return CosineLRScheduler(
        optimizer,
        t_initial=stage.MAX_EPOCHS,
        lr_min=stage.LR_MIN,
        warmup_t=stage.WARMUP_EPOCHS,
        warmup_lr_init=stage.WARMUP_LR_INIT,
    )


def build_image_optimizer(cfg: CfgNode, model: nn.Module) -> Optimizer:
    """The optimizer of stage 2, which trains all parameters that require a gradient."""
    stage = cfg.SOLVER.STAGE2
    groups = image_stage_groups(
        model.named_parameters(),
        base_lr=stage.BASE_LR,
        weight_decay=stage.WEIGHT_DECAY,
        bias_lr_factor=stage.BIAS_LR_FACTOR,
        weight_decay_bias=stage.WEIGHT_DECAY_BIAS,
        large_fc_lr=stage.LARGE_FC_LR,
    )
    return build_optimizer(stage.OPTIMIZER_NAME, groups, stage.MOMENTUM)


def build_image_schedule(cfg: CfgNode, optimizer: Optimizer, epochs_before: int = 0) -> Schedule:
    """Stage 2: warm-up, then steps at SOLVER.STAGE2.STEPS.

    Args:
        cfg: SOLVER.STAGE2 counts.
        optimizer: of the model.
        epochs_before: of stage 0, if the schedule goes on from there.
    """
    return _warmup_and_steps(cfg, optimizer, cfg.SOLVER.STAGE2.STEPS, epochs_before)


def build_unsupervised_schedule(cfg: CfgNode, optimizer: Optimizer) -> Schedule:
    """DSGL: stage 2's warm-up, then a step every DSGL.STEP_SIZE epochs (0 = stage 2's steps)."""
    stage, period = cfg.SOLVER.STAGE2, cfg.DSGL.STEP_SIZE
    steps = range(period + 1, stage.MAX_EPOCHS + 1, period) if period else stage.STEPS
    return _warmup_and_steps(cfg, optimizer, steps)


def _warmup_and_steps(
    cfg: CfgNode, optimizer: Optimizer, milestones: Sequence[int], epochs_before: int = 0
) -> Schedule:
    stage = cfg.SOLVER.STAGE2
    return WarmupMultiStep(
        optimizer,
        milestones=milestones,
        gamma=stage.GAMMA,
        warmup_epochs=stage.WARMUP_ITERS,
        warmup_factor=stage.WARMUP_FACTOR,
        method=stage.WARMUP_METHOD,
        epochs_before=epochs_before,
    )


def build_loss_optimizer(cfg: CfgNode, module: nn.Module, weight: float) -> Optimizer:
    """SGD for the parameters of a loss, such as class centers.

    SOLVER.STAGE2.CENTER_LR is the rate for the loss itself: its weight does not slow them down.
    """
    return torch.optim.SGD(module.parameters(), lr=cfg.SOLVER.STAGE2.CENTER_LR / weight)


def build_optimizer(name: str, groups: list[dict[str, Any]], momentum: float) -> Optimizer:
    """Adam, AdamW or SGD; every group sets its own rate and decay."""
    parameters = [parameter for group in groups for parameter in group["params"]]
    # One kernel updates all parameters; torch has it for these devices.
    fused = all(parameter.device.type in ("cpu", "cuda") for parameter in parameters)
    if name == "SGD":
        return torch.optim.SGD(groups, momentum=momentum, fused=fused)
    if name == "AdamW":
        return torch.optim.AdamW(groups, fused=fused)
    return torch.optim.Adam(groups, fused=fused)

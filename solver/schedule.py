"""Learning-rate schedules: functions of the epoch alone, so resuming is exact."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch.optim import Optimizer


class Schedule(Protocol):
    """Sets an optimizer's learning rates by epoch, counted from 1."""

    def step(self, epoch: int) -> None:
        """Set the rates before the first batch of this epoch."""


def warmup_multistep_factor(
    epoch: int,
    *,
    milestones: Sequence[int],
    gamma: float,
    warmup_epochs: int,
    warmup_factor: float,
    method: str,
) -> float:
    """Factor on the base rate: `w(e) * gamma^(number of milestones <= e)` (CLIP-ReID, 4.2).

    Args:
        epoch: e, counted from 1.
        milestones: epochs from which on the rate is reduced once more.
        gamma: factor of a reduction.
        warmup_epochs: W.
        warmup_factor: f; `w = f (1 - e / W) + e / W` before epoch W, then 1.
        method: "linear" as above, or "constant": `w = f` before epoch W.
    """
    warmup = 1.0
    if epoch < warmup_epochs:
        share = epoch / warmup_epochs if method == "linear" else 0.0
        warmup = warmup_factor * (1 - share) + share
    return warmup * gamma ** sum(milestone <= epoch for milestone in milestones)


class WarmupMultiStep:
    """`warmup_multistep_factor` times the rates that the optimizer was built with.

    Args:
        optimizer: its groups' rates are the base rates.
        milestones, gamma, warmup_epochs, warmup_factor, method: see `warmup_multistep_factor`.
        epochs_before: of a stage before this one, which the schedule goes on from.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        *,
        milestones: Sequence[int],
        gamma: float,
        warmup_epochs: int,
        warmup_factor: float,
        method: str,
        epochs_before: int = 0,
    ) -> None:
        self.optimizer = optimizer
        self.milestones = list(milestones)
        self.gamma = gamma
        self.warmup_epochs = warmup_epochs
        self.warmup_factor = warmup_factor
        self.method = method
        self.epochs_before = epochs_before
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])

    def step(self, epoch: int) -> None:
        """Set the rates before the first batch of this epoch."""
        factor = warmup_multistep_factor(
            epoch + self.epochs_before,
            milestones=self.milestones,
            gamma=self.gamma,
            warmup_epochs=self.warmup_epochs,
            warmup_factor=self.warmup_factor,
            method=self.method,
        )
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor

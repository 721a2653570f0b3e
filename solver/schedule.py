"""Learning-rate schedules by epoch; each is a function of the epoch alone, so resuming is exact."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch.optim import Optimizer


class Schedule(Protocol):
    """Sets an optimizer's learning rates for an epoch; epochs count from 1."""

    def step(self, epoch: int) -> None:
        """Set the rates of this epoch, before its first batch."""


def warmup_multistep_factor(
    epoch: int,
    *,
    milestones: Sequence[int],
    gamma: float,
    warmup_epochs: int,
    warmup_factor: float,
    method: str = "linear",
) -> float:
    """Factor on the base rate: `w(e) * gamma^(number of milestones <= e)` (CLIP-ReID, 4.2).

    Args:
        epoch: e, from 1; a milestone counts from its own epoch on.
        milestones: epochs at which the rate is reduced.
        gamma: the reduction.
        warmup_epochs: W.
        warmup_factor: f; `w = f (1 - e / W) + e / W` before epoch W, 1 from then on.
        method: "linear" as above, or "constant": `w = f` before epoch W.
    """
    warmup = 1.0
    if epoch < warmup_epochs:
        share = epoch / warmup_epochs if method == "linear" else 0.0
        warmup = warmup_factor * (1 - share) + share
    return warmup * gamma ** sum(milestone <= epoch for milestone in milestones)


class WarmupMultiStep:
    """Applies `warmup_multistep_factor` to the rates an optimizer was built with.

    Args:
        optimizer: its groups' rates are the base rates.
        milestones, gamma, warmup_epochs, warmup_factor, method: see `warmup_multistep_factor`.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        *,
        milestones: Sequence[int],
        gamma: float,
        warmup_epochs: int,
        warmup_factor: float,
        method: str = "linear",
    ) -> None:
        self.optimizer = optimizer
        self.milestones = list(milestones)
        self.gamma = gamma
        self.warmup_epochs = warmup_epochs
        self.warmup_factor = warmup_factor
        self.method = method
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])

    def step(self, epoch: int) -> None:
        """Set the rates of this epoch."""
        factor = warmup_multistep_factor(
            epoch,
            milestones=self.milestones,
            gamma=self.gamma,
            warmup_epochs=self.warmup_epochs,
            warmup_factor=self.warmup_factor,
            method=self.method,
        )
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor

"""Pooling of feature maps (B, D, h, w) to features (B, D), by name.

Written as means and maxima over dimensions: torch's adaptive poolings have gradients on a GPU that
vary from run to run.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class GeneralizedMeanPooling(nn.Module):
    """`mean(max(x, eps)^p)^(1/p)` with a learned p (Radenovic et al., TPAMI 2019, eq. 3).

    Args:
        power: initial p; 1 = average, towards infinity = maximum.
        eps: lower bound of the map's values.
    """

    def __init__(self, power: float = 3.0, eps: float = 1e-6) -> None:
        super().__init__()
        self.p = nn.Parameter(torch.tensor([power]))
        self.eps = eps

    def forward(self, maps: Tensor) -> Tensor:
        """(B, D, h, w) -> (B, D) float32."""
        with torch.autocast(maps.device.type, enabled=False):
            raised = maps.float().clamp(min=self.eps).pow(self.p)
            return raised.mean((2, 3)).pow(1 / self.p)


class AveragePooling(nn.Module):
    """The mean over all positions."""

    def forward(self, maps: Tensor) -> Tensor:
        """(B, D, h, w) -> (B, D)."""
        return maps.mean((2, 3))


class MaxPooling(nn.Module):
    """The maximum over all positions."""

    def forward(self, maps: Tensor) -> Tensor:
        """(B, D, h, w) -> (B, D)."""
        return maps.amax((2, 3))


class AverageMaxPooling(nn.Module):
    """The sum of mean and maximum."""

    def forward(self, maps: Tensor) -> Tensor:
        """(B, D, h, w) -> (B, D)."""
        return maps.mean((2, 3)) + maps.amax((2, 3))


POOLINGS: dict[str, type[nn.Module]] = {
    "gem": GeneralizedMeanPooling,
    "avg": AveragePooling,
    "max": MaxPooling,
    "avg+max": AverageMaxPooling,
}


def build_pooling(kind: str) -> nn.Module:
    """One of POOLINGS; raises ValueError for an unknown name."""
    if kind not in POOLINGS:
        raise ValueError(f"DSGL.POOLING: unknown {kind!r}; known: {', '.join(POOLINGS)}")
    return POOLINGS[kind]()

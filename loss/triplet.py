"""Batch-hard triplet loss (Hermans et al., In Defense of the Triplet Loss, 2017, eq. 5)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def triplet_loss(
    features: Tensor, labels: Tensor, margin: float | None = 0.3, hard_factor: float = 0.0
) -> Tensor:
    """Mean over anchors of the gap between the hardest positive and the hardest negative.

    Any number of images per identity works; a single image of an identity is its own positive.

    Args:
        features: (B, D), compared by Euclidean distance as they are.
        labels: (B,) identities.
        margin: `relu(d_ap - d_an + margin)`; None = soft margin `softplus(d_ap - d_an)`.
        hard_factor: h stretches the distances to `d_ap (1 + h)` and `d_an (1 - h)`.

    Returns:
        Scalar; 0 (with gradient 0) when the batch holds a single identity.
    """
    distances = euclidean_distances(features.float())
    same = labels[:, None] == labels[None, :]
    hardest_positive = distances.masked_fill(~same, -torch.inf).max(1).values * (1 + hard_factor)
    hardest_negative = distances.masked_fill(same, torch.inf).min(1).values * (1 - hard_factor)
    gap = hardest_positive - hardest_negative  # -inf where there is no negative
    if margin is None:
        return F.softplus(gap).mean()
    return F.relu(gap + margin).mean()


def euclidean_distances(features: Tensor) -> Tensor:
    """(B, B) distances `sqrt(max(|x|^2 + |y|^2 - 2 x.y, 1e-12))`, finite gradients at 0."""
    with torch.autocast(features.device.type, enabled=False):
        squares = features.square().sum(1)
        products = features @ features.T
    return (squares[:, None] + squares[None, :] - 2 * products).clamp(min=1e-12).sqrt()

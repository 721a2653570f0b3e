"""Center loss (Wen et al., A Discriminative Feature Learning Approach, 2016, eq. 2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class CenterLoss(nn.Module):
    """Squared distance of features to the learned center of their class.

    Args:
        num_classes: C.
        width: D, width of the features.
    """

    def __init__(self, num_classes: int, width: int) -> None:
        super().__init__()
        self.centers = nn.Parameter(torch.randn(num_classes, width))

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        """(B, D) features and (B,) labels -> mean over the batch of `|x - center|^2`."""
        return (features.float() - self.centers[labels]).square().sum(1).mean()

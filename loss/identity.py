"""Cross-entropy over identities, with label smoothing (Szegedy et al., 2016)."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor


def identity_loss(logits: Sequence[Tensor], labels: Tensor, smoothing: float = 0.1) -> Tensor:
    """Sum of the cross-entropies of several classifiers.

    Args:
        logits: (B, C) each.
        labels: (B,) in 0..C-1.
        smoothing: target `(1 - smoothing) one_hot + smoothing / C`; 0 = plain cross-entropy.
    """
    return sum(
        (F.cross_entropy(x.float(), labels, label_smoothing=smoothing) for x in logits[1:]),
        F.cross_entropy(logits[0].float(), labels, label_smoothing=smoothing),
    )

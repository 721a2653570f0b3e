"""Supervised contrastive loss between two sets of features (CLIP-ReID, eq. 3 and 4)."""

from __future__ import annotations

import torch
from torch import Tensor


def contrastive_loss(
    anchors: Tensor, candidates: Tensor, anchor_labels: Tensor, candidate_labels: Tensor
) -> Tensor:
    """Mean over anchors of `-1/|Pos| sum_{j in Pos} log softmax_j(a . c_j)`, temperature 1.

    Args:
        anchors: (B, E), not normalized.
        candidates: (M, E), not normalized.
        anchor_labels: (B,).
        candidate_labels: (M,); the candidates of an anchor's label are its positives.

    Returns:
        Scalar, averaged over the anchors that have a positive; 0 when none has.
    """
    with torch.autocast(anchors.device.type, enabled=False):
        log_shares = (anchors.float() @ candidates.float().T).log_softmax(dim=1)
    positive = (anchor_labels[:, None] == candidate_labels[None, :]).float()
    counts = positive.sum(1)
    per_anchor = -(log_shares * positive).sum(1) / counts.clamp(min=1)
    return per_anchor.sum() / (counts > 0).sum().clamp(min=1)

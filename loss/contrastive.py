"""Supervised contrastive losses: between two sets of features, and within one batch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def contrastive_loss(
    anchors: Tensor, candidates: Tensor, anchor_labels: Tensor, candidate_labels: Tensor
) -> Tensor:
    """Supervised contrastive loss between images and texts (CLIP-ReID, eq. 3 and 4).

    Mean over anchors of `-1/|Pos| sum_{j in Pos} log softmax_j(a . c_j)`, temperature 1.

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


def supervised_contrastive_loss(
    features: Tensor, labels: Tensor, temperature: float = 0.1
) -> Tensor:
    """Supervised contrastive loss within a batch (Khosla et al., 2020, eq. 2).

    Mean over anchors of `-1/|Pos| sum_{j in Pos} log softmax_{j != i}(z_i . z_j / temperature)`,
    where z are unit features.

    Args:
        features: (B, E), normalized here.
        labels: (B,); the other images of an anchor's label are its positives.
        temperature: divides the similarities.

    Returns:
        Scalar, averaged over the anchors that have a positive; 0 when none has.
    """
    with torch.autocast(features.device.type, enabled=False):
        unit = F.normalize(features.float())
        similarities = unit @ unit.T / temperature
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    log_shares = similarities.masked_fill(itself, -torch.inf).log_softmax(dim=1)
    positive = (labels[:, None] == labels[None, :]) & ~itself
    counts = positive.sum(1)
    per_anchor = -log_shares.masked_fill(~positive, 0).sum(1) / counts.clamp(min=1)
    return per_anchor.sum() / (counts > 0).sum().clamp(min=1)

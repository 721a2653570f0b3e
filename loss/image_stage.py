"""The losses of the image stage, by name and already weighted (CLIP-ReID, eq. 8)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from loss.center import CenterLoss
from loss.identity import identity_loss
from loss.triplet import triplet_loss

FEATURES = ("last", "final", "projected")


@dataclass(frozen=True)
class ImageStageLosses:
    """Weights of the losses; one that is None is not computed.

    Attributes:
        id_weight: of the classifiers' cross-entropies.
        triplet_weight: of the triplet losses.
        triplet_features: the features with a triplet loss, some of `FEATURES`.
        i2t_weight: of the cross-entropy over the identities' text features.
        center_weight: of the center loss on the final feature.
        smoothing: label smoothing of id and i2t.
        margin: of the triplet loss; None = soft margin.
        center: holds the class centers.
    """

    id_weight: float | None = 1.0
    triplet_weight: float | None = 1.0
    triplet_features: tuple[str, ...] = FEATURES
    i2t_weight: float | None = 1.0
    center_weight: float | None = None
    smoothing: float = 0.1
    margin: float | None = 0.3
    center: CenterLoss | None = None

    def __call__(
        self,
        logits: Sequence[Tensor],
        features: Sequence[Tensor],
        labels: Tensor,
        i2t_logits: Tensor | None,
    ) -> dict[str, Tensor]:
        """Named, weighted losses of B images in float32.

        Args:
            logits: (B, C) each.
            features: those of `FEATURES`, before the BNNecks.
            labels: (B,).
            i2t_logits: (B, C) of `image_to_text_logits`; None for the baseline.
        """
        losses = {}
        if self.id_weight is not None:
            losses["id"] = self.id_weight * identity_loss(logits, labels, self.smoothing)
        if self.triplet_weight is not None:
            chosen = [features[FEATURES.index(name)] for name in self.triplet_features]
            triplets = [triplet_loss(x, labels, self.margin) for x in chosen]
            losses["triplet"] = self.triplet_weight * torch.stack(triplets).sum()
        if i2t_logits is not None and self.i2t_weight is not None:
            losses["i2t"] = self.i2t_weight * identity_loss([i2t_logits], labels, self.smoothing)
        if self.center is not None and self.center_weight is not None:
            losses["center"] = self.center_weight * self.center(features[1], labels)
        return losses


def image_to_text_logits(projected: Tensor, text_features: Tensor) -> Tensor:
    """(B, E) images against (C, E) texts -> (B, C) dot products in float32, no temperature."""
    with torch.autocast(projected.device.type, enabled=False):
        return projected.float() @ text_features.float().T

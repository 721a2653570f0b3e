"""The losses of the image stage, by name and weight (CLIP-ReID, eq. 8)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from loss.center import CenterLoss
from loss.identity import identity_loss
from loss.triplet import triplet_loss


@dataclass(frozen=True, slots=True)
class LossInputs:
    """The B images of a global batch, as the losses see them.

    Attributes:
        logits: (B, C) per classifier.
        features: (B, .) by name, before the BNNecks: "last", "final" and "projected".
        labels: (B,) in 0..C-1.
        i2t_logits: (B, C) of `image_to_text_logits`; None without prompts.
    """

    logits: Sequence[Tensor]
    features: Mapping[str, Tensor]
    labels: Tensor
    i2t_logits: Tensor | None = None


@dataclass(frozen=True, slots=True)
class WeightedLoss:
    """One term of the sum that the image stage minimizes.

    Attributes:
        weight: factor on the loss.
        function: `LossInputs` -> scalar in float32.
        module: state of the loss itself; an optimizer of their own trains its parameters.
    """

    weight: float
    function: Callable[[LossInputs], Tensor]
    module: nn.Module | None = None


def compute_losses(losses: Mapping[str, WeightedLoss], batch: LossInputs) -> dict[str, Tensor]:
    """The weighted losses of a batch, by name; their sum is minimized."""
    return {name: loss.weight * loss.function(batch) for name, loss in losses.items()}


def id_loss(batch: LossInputs, *, smoothing: float = 0.1) -> Tensor:
    """Cross-entropies of all classifiers, summed."""
    return identity_loss(batch.logits, batch.labels, smoothing)


def triplet_losses(
    batch: LossInputs, *, features: Sequence[str], margin: float | None = 0.3
) -> Tensor:
    """Triplet losses of the named features, summed; a margin of None is the soft margin."""
    losses = [triplet_loss(batch.features[name], batch.labels, margin) for name in features]
    return torch.stack(losses).sum()


def i2t_loss(batch: LossInputs, *, smoothing: float = 0.1) -> Tensor:
    """Cross-entropy over the identities' text features (CLIP-ReID, eq. 7).

    Raises:
        ValueError: the batch has no image-to-text logits.
    """
    if batch.i2t_logits is None:
        raise ValueError("the image-to-text loss needs the text features of all identities")
    return identity_loss([batch.i2t_logits], batch.labels, smoothing)


def center_loss(batch: LossInputs, *, centers: CenterLoss) -> Tensor:
    """Center loss on the final feature."""
    loss: Tensor = centers(batch.features["final"], batch.labels)
    return loss


def image_to_text_logits(projected: Tensor, text_features: Tensor) -> Tensor:
    """(B, E) images against (C, E) texts -> (B, C) dot products in float32, no temperature."""
    with torch.autocast(projected.device.type, enabled=False):
        return projected.float() @ text_features.float().T

"""Losses; each a small function of tensors."""

from loss.build import build_image_losses
from loss.center import CenterLoss
from loss.contrastive import contrastive_loss
from loss.identity import identity_loss
from loss.image_stage import ImageStageLosses, image_to_text_logits
from loss.triplet import triplet_loss

__all__ = [
    "CenterLoss",
    "ImageStageLosses",
    "build_image_losses",
    "contrastive_loss",
    "identity_loss",
    "image_to_text_logits",
    "triplet_loss",
]

"""Losses; each a small function of tensors."""

from loss.build import build_image_losses
from loss.center import CenterLoss
from loss.cluster_memory import ClusterMemory
from loss.contrastive import contrastive_loss
from loss.disentangle import disentangled_loss, irrelevant_labels
from loss.identity import identity_loss
from loss.image_stage import ImageStageLosses, image_to_text_logits
from loss.instance_bank import InstanceBank
from loss.relative_entropy import relative_entropy_loss
from loss.triplet import triplet_loss

__all__ = [
    "CenterLoss",
    "ClusterMemory",
    "ImageStageLosses",
    "InstanceBank",
    "build_image_losses",
    "contrastive_loss",
    "disentangled_loss",
    "identity_loss",
    "image_to_text_logits",
    "irrelevant_labels",
    "relative_entropy_loss",
    "triplet_loss",
]

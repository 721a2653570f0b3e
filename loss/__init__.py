"""Losses; each a small function of tensors."""

from loss.build import (
    build_cluster_memory,
    build_dsgl_losses,
    build_image_losses,
    check_extra_losses,
)
from loss.center import CenterLoss
from loss.contrastive import contrastive_loss, supervised_contrastive_loss
from loss.dsgl.cluster_memory import ClusterMemory
from loss.dsgl.disentangle import disentangled_loss, irrelevant_labels
from loss.dsgl.instance_bank import InstanceBank
from loss.dsgl.losses import ClusteredBatch, DSGLLosses
from loss.dsgl.relative_entropy import relative_entropy_loss
from loss.extra import LossOptions, register_loss
from loss.identity import identity_loss
from loss.image_stage import LossInputs, WeightedLoss, compute_losses, image_to_text_logits
from loss.triplet import triplet_loss

__all__ = [
    "CenterLoss",
    "ClusterMemory",
    "ClusteredBatch",
    "DSGLLosses",
    "InstanceBank",
    "LossInputs",
    "LossOptions",
    "WeightedLoss",
    "build_cluster_memory",
    "build_dsgl_losses",
    "build_image_losses",
    "check_extra_losses",
    "compute_losses",
    "contrastive_loss",
    "disentangled_loss",
    "identity_loss",
    "image_to_text_logits",
    "irrelevant_labels",
    "register_loss",
    "relative_entropy_loss",
    "supervised_contrastive_loss",
    "triplet_loss",
]

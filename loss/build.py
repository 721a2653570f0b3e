"""The losses of a configuration."""

from __future__ import annotations

from torch import Tensor
from yacs.config import CfgNode

from config.samplers import sampler_kind
from loss.center import CenterLoss
from loss.dsgl.cluster_memory import ClusterMemory
from loss.dsgl.losses import UnsupervisedLosses
from loss.image_stage import ImageStageLosses

SMOOTHING = 0.1


def build_image_losses(cfg: CfgNode, num_classes: int, feature_width: int) -> ImageStageLosses:
    """The image stage's losses as MODEL.* weigh them.

    Args:
        cfg: MODEL, SOLVER.MARGIN, SOLVER.STAGE2.CENTER_LOSS_WEIGHT, DATALOADER.SAMPLER count.
        num_classes: C, for the center loss.
        feature_width: D of the final feature, for the center loss.
    """
    metric = cfg.MODEL.METRIC_LOSS_TYPE
    # A shuffled batch seldom holds two images of an identity: nothing for a triplet loss to mine.
    triplet = "triplet" in metric and sampler_kind(cfg).p_x_k
    center = "center" in metric or cfg.MODEL.IF_WITH_CENTER
    return ImageStageLosses(
        id_weight=cfg.MODEL.ID_LOSS_WEIGHT or None,
        triplet_weight=cfg.MODEL.TRIPLET_LOSS_WEIGHT if triplet else None,
        triplet_features=tuple(cfg.MODEL.TRIPLET_FEATURES),
        i2t_weight=cfg.MODEL.I2T_LOSS_WEIGHT if cfg.MODEL.TEXT_TOWER else None,
        center_weight=cfg.SOLVER.STAGE2.CENTER_LOSS_WEIGHT if center else None,
        smoothing=SMOOTHING if cfg.MODEL.IF_LABELSMOOTH else 0.0,
        margin=None if cfg.MODEL.NO_MARGIN else cfg.SOLVER.MARGIN,
        center=CenterLoss(num_classes, feature_width) if center else None,
    )


def build_unsupervised_losses(cfg: CfgNode) -> UnsupervisedLosses:
    """The losses of training without labels as DSGL.* weigh them."""
    options = cfg.DSGL
    disentangles = options.MEMORY == "DLhybrid"  # other memories learn from their own loss alone
    return UnsupervisedLosses(
        disentangled_weight=options.W_DIS if disentangles else 0.0,
        entropy_weight=options.W_KL if disentangles else 0.0,
        temperature=options.TEMPERATURE,
        mix=options.TAU_DIS,
        positive_mix=options.TAU_KL_POS,
        negative_mix=options.TAU_KL_NEG,
        detach=options.KL_DETACH,
        faithful=options.FAITHFUL,
    )


def build_cluster_memory(cfg: CfgNode, prototypes: Tensor) -> ClusterMemory:
    """The memory that DSGL.* describe, with (C, D) centroids of clusters as its first rows."""
    options = cfg.DSGL
    return ClusterMemory(
        prototypes,
        options.TEMPERATURE,
        options.MOMENTUM,
        options.MEM_LOSS,
        kind=options.MEMORY,
        hard_weight=options.HARD_WEIGHT,
        smoothing=options.LABEL_SMOOTHING,
    )

"""The losses of a configuration."""

from __future__ import annotations

from functools import partial

from torch import Tensor
from yacs.config import CfgNode

from config.errors import ConfigError
from config.extra_losses import extra_losses
from config.free_options import free_options
from config.samplers import sampler_kind
from loss.center import CenterLoss
from loss.dsgl.cluster_memory import ClusterMemory
from loss.dsgl.losses import DSGLLosses
from loss.extra import LossOptions, find_extra_loss, make_extra_loss
from loss.image_stage import WeightedLoss, center_loss, i2t_loss, id_loss, triplet_losses

SMOOTHING = 0.1
PROJECTED = "projected"


def build_image_losses(
    cfg: CfgNode,
    num_classes: int,
    feature_width: int,
    *,
    with_text: bool,
    joint_width: int,
) -> dict[str, WeightedLoss]:
    """The image stage's losses, by the name under which they are logged.

    Args:
        cfg: MODEL, SOLVER.MARGIN, SOLVER.STAGE2.CENTER_LOSS_WEIGHT, DATALOADER.SAMPLER and USER
            count.
        num_classes: C, for the losses with parameters.
        feature_width: D of the final feature, likewise.
        with_text: the stage has the text features of all identities.
        joint_width: E of the projected feature; 0 = there is none, and no triplet loss on it.

    Raises:
        ConfigError: a loss on the projected feature alone, which the encoder does not have.
    """
    metric = cfg.MODEL.METRIC_LOSS_TYPE
    smoothing = SMOOTHING if cfg.MODEL.IF_LABELSMOOTH else 0.0
    losses: dict[str, WeightedLoss] = {}
    if cfg.MODEL.ID_LOSS_WEIGHT:
        losses["id"] = WeightedLoss(cfg.MODEL.ID_LOSS_WEIGHT, partial(id_loss, smoothing=smoothing))
    # A shuffled batch rarely holds two images of an identity: no triplets to mine.
    if "triplet" in metric and sampler_kind(cfg).p_x_k:
        margin = None if cfg.MODEL.NO_MARGIN else cfg.SOLVER.MARGIN
        features = tuple(x for x in cfg.MODEL.TRIPLET_FEATURES if joint_width or x != PROJECTED)
        if not features:
            raise ConfigError(
                f"MODEL.TRIPLET_FEATURES: {cfg.MODEL.NAME} has no projected feature; add final"
            )
        losses["triplet"] = WeightedLoss(
            cfg.MODEL.TRIPLET_LOSS_WEIGHT, partial(triplet_losses, features=features, margin=margin)
        )
    if with_text:
        losses["i2t"] = WeightedLoss(
            cfg.MODEL.I2T_LOSS_WEIGHT, partial(i2t_loss, smoothing=smoothing)
        )
    if "center" in metric or cfg.MODEL.IF_WITH_CENTER:
        centers = CenterLoss(num_classes, feature_width)
        losses["center"] = WeightedLoss(
            cfg.SOLVER.STAGE2.CENTER_LOSS_WEIGHT, partial(center_loss, centers=centers), centers
        )
    options = LossOptions(num_classes, feature_width, joint_width, free_options(cfg))
    for name, weight in extra_losses(cfg).items():
        if find_extra_loss(name).features == PROJECTED and not joint_width:
            raise ConfigError(
                f"MODEL.EXTRA_LOSSES: {name} reads the projected feature, which {cfg.MODEL.NAME} "
                "does not have"
            )
        losses[name] = make_extra_loss(name, weight, options)
    return losses


def check_extra_losses(cfg: CfgNode) -> None:
    """All names in MODEL.EXTRA_LOSSES are registered; raises ConfigError."""
    for name in extra_losses(cfg):
        find_extra_loss(name)


def build_dsgl_losses(cfg: CfgNode) -> DSGLLosses:
    """The losses of training without labels, weighted by DSGL.*."""
    options = cfg.DSGL
    disentangles = options.MEMORY == "DLhybrid"  # other memories learn from their own loss alone
    return DSGLLosses(
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
    """The memory that DSGL.* describe, initialized with the (C, D) centroids of the clusters."""
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

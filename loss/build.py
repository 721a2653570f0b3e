"""The losses of a configuration."""

from __future__ import annotations

from yacs.config import CfgNode

from loss.center import CenterLoss
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
    triplet = "triplet" in metric and cfg.DATALOADER.SAMPLER != "softmax"
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

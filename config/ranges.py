"""Ranges of numbers in options."""

from __future__ import annotations

from yacs.config import CfgNode

from config.errors import ConfigError
from config.options import lookup

AT_LEAST: dict[str, float] = {
    "INPUT.PADDING": 0,
    "DATALOADER.NUM_WORKERS": 0,
    "DATALOADER.NUM_INSTANCE": 1,
    "DATALOADER.DFGS.NUM_NEIGHBOURS": 1,
    "DATALOADER.DFGS.SKIP": 0,
    "DATALOADER.DFGS.MAX_VISITS": 0,
    "DATALOADER.DFGS.REFRESH_PERIOD": 1,
    "DATALOADER.DFGS.IMAGES_PER_ID": 1,
    "SOLVER.SEED": 0,
    "SOLVER.MARGIN": 0,
    "SOLVER.STAGE0.MAX_EPOCHS": 0,
    "SOLVER.STAGE1.IMS_PER_BATCH": 2,
    "SOLVER.STAGE1.MAX_EPOCHS": 1,
    "SOLVER.STAGE1.BASE_LR": 0,
    "SOLVER.STAGE1.WARMUP_EPOCHS": 0,
    "SOLVER.STAGE1.CHECKPOINT_PERIOD": 1,
    "SOLVER.STAGE1.LOG_PERIOD": 1,
    "SOLVER.STAGE2.IMS_PER_BATCH": 2,
    "SOLVER.STAGE2.MAX_EPOCHS": 1,
    "SOLVER.STAGE2.BASE_LR": 0,
    "SOLVER.STAGE2.WARMUP_ITERS": 0,
    "SOLVER.STAGE2.CHECKPOINT_PERIOD": 1,
    "SOLVER.STAGE2.LOG_PERIOD": 1,
    "SOLVER.STAGE2.EVAL_PERIOD": 1,
    "DSGL.EMBED_DIM": 0,
    "DSGL.ITERS": 0,
    "DSGL.STEP_SIZE": 0,
    "DSGL.RECLUSTER_EVERY": 1,
    "DSGL.MIN_SAMPLES": 2,
    "DSGL.K1": 1,
    "DSGL.K2": 1,
    "DSGL.ORDERS": 1,
    "DSGL.W_DIS": 0,
    "DSGL.W_KL": 0,
    "TEST.IMS_PER_BATCH": 1,
    "TEST.CHUNK_MB": 1,
    "TEST.RE_RANKING_K1": 1,
    "TEST.RE_RANKING_K2": 1,
}

COLOURS = ("INPUT.GRAYSCALE_PROB", "INPUT.JITTER_PROB", "INPUT.AUGMIX_PROB")
PROBABILITIES = (
    "INPUT.PROB",
    "INPUT.RE_PROB",
    *COLOURS,
    "TEST.RE_RANKING_LAMBDA",
    "DSGL.DROPOUT",
    "DSGL.HARD_WEIGHT",
    "DSGL.MOMENTUM",
    "DSGL.TAU_DIS",
    "DSGL.TAU_KL_POS",
    "DSGL.TAU_KL_NEG",
)


def check_ranges(cfg: CfgNode) -> None:
    """Numbers lie in their range; raises ConfigError."""
    for name, least in AT_LEAST.items():
        if lookup(cfg, name) < least:
            raise ConfigError(f"{name}: {lookup(cfg, name)} should be at least {least}")
    for name in PROBABILITIES:
        if not 0 <= lookup(cfg, name) <= 1:
            raise ConfigError(f"{name}: {lookup(cfg, name)} should be between 0 and 1")
    for name in ("INPUT.PIXEL_MEAN", "INPUT.PIXEL_STD"):
        if len(lookup(cfg, name)) != 3:
            raise ConfigError(f"{name}: {lookup(cfg, name)} should be three numbers: R, G, B")
    if len(cfg.INPUT.JITTER) != 4 or min(cfg.INPUT.JITTER) < 0 or cfg.INPUT.JITTER[3] > 0.5:
        raise ConfigError(
            f"INPUT.JITTER: {cfg.INPUT.JITTER} should be four numbers, 0 or more: brightness, "
            "contrast, saturation, hue (at most 0.5)"
        )
    if cfg.SOLVER.STAGE2.CENTER_LOSS_WEIGHT <= 0:
        raise ConfigError(
            f"SOLVER.STAGE2.CENTER_LOSS_WEIGHT: {cfg.SOLVER.STAGE2.CENTER_LOSS_WEIGHT} should be "
            "positive"
        )
    if min(cfg.INPUT.PIXEL_STD) <= 0:
        raise ConfigError(f"INPUT.PIXEL_STD: {cfg.INPUT.PIXEL_STD} should be positive")

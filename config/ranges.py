"""The bounds of every number in the options; docs/options.md shows them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from yacs.config import CfgNode

from config.errors import ConfigError
from config.options import lookup


@dataclass(frozen=True, slots=True)
class Bounds:
    """The values that a number, or every number of a list, may have.

    Attributes:
        low: least value.
        high: largest value.
        above: `low` itself is too small.
        below: `high` itself is too large.
        length: of a list; None = any.
    """

    low: float
    high: float
    above: bool = False
    below: bool = False
    length: int | None = None

    def hold(self, value: float) -> bool:
        """Whether a number is inside."""
        low = self.low < value if self.above else self.low <= value
        return low and (value < self.high if self.below else value <= self.high)

    def __str__(self) -> str:
        each = "" if self.length is None else f"{self.length} numbers, each "
        low, high = f"{self.low:,}", f"{self.high:,}"
        if not (self.above or self.below or self.high == math.inf):
            return f"{each}between {low} and {high}"
        left = f"above {low}" if self.above else f"at least {low}"
        if self.high == math.inf:
            return f"{each}{left}"
        return f"{each}{left} and {f'below {high}' if self.below else f'at most {high}'}"


SHARE = Bounds(0, 1)
SWITCH = Bounds(0, 1000)  # a weight; 0 = off
PIXELS = Bounds(1, 4096, length=2)
EPOCHS = Bounds(1, 100_000)
RATE = Bounds(0, math.inf)  # one that is too large ends in a loss that is not finite
DECAY = Bounds(0, 10)
COUNT = Bounds(1, 1_000_000)
COUNT_OR_0 = Bounds(0, 1_000_000)
BATCH = Bounds(2, 1_000_000)
SGD_MOMENTUM = Bounds(0, 1, below=True)

BOUNDS: dict[str, Bounds] = {
    "MODEL.STRIDE_SIZE": Bounds(1, 64, length=2),
    "MODEL.SIE_COE": Bounds(0, 1000),
    "MODEL.ID_LOSS_WEIGHT": SWITCH,
    "MODEL.TRIPLET_LOSS_WEIGHT": SWITCH,
    "MODEL.I2T_LOSS_WEIGHT": SWITCH,
    "INPUT.SIZE_TRAIN": PIXELS,
    "INPUT.SIZE_TEST": PIXELS,
    "INPUT.PIXEL_MEAN": Bounds(0, 1, length=3),
    "INPUT.PIXEL_STD": Bounds(0, 1, above=True, length=3),
    "INPUT.PROB": SHARE,
    "INPUT.PADDING": Bounds(0, 512),
    "INPUT.RE_PROB": SHARE,
    "INPUT.GRAYSCALE_PROB": SHARE,
    "INPUT.JITTER_PROB": SHARE,
    "INPUT.JITTER": Bounds(0, 10, length=4),
    "INPUT.RE_AREA": Bounds(0, 1, above=True, length=2),
    "INPUT.AUGMIX_PROB": SHARE,
    "INPUT.AUGMIX_SEVERITY": Bounds(1, 10),
    "INPUT.AUGMIX_DEPTH": Bounds(0, 100),
    "INPUT.AUGMIX_ALPHA": Bounds(0, 1000, above=True),
    "DATALOADER.NUM_WORKERS": Bounds(0, 1024),
    "DATALOADER.NUM_INSTANCE": Bounds(1, 10_000),
    "DATALOADER.DFGS.NUM_NEIGHBOURS": Bounds(1, 10_000),
    "DATALOADER.DFGS.SKIP": Bounds(0, 10_000),
    "DATALOADER.DFGS.MAX_VISITS": COUNT_OR_0,
    "DATALOADER.DFGS.REFRESH_PERIOD": EPOCHS,
    "DATALOADER.DFGS.IMAGES_PER_ID": COUNT,
    "SOLVER.SEED": Bounds(0, 2**63 - 1),
    "SOLVER.MARGIN": Bounds(0, 1000),
    "SOLVER.EMA": Bounds(0, 1, below=True),
    "SOLVER.STAGE0.MAX_EPOCHS": Bounds(0, 100_000),
    "SOLVER.STAGE1.IMS_PER_BATCH": BATCH,
    "SOLVER.STAGE1.MAX_EPOCHS": EPOCHS,
    "SOLVER.STAGE1.BASE_LR": RATE,
    "SOLVER.STAGE1.MOMENTUM": SGD_MOMENTUM,
    "SOLVER.STAGE1.WEIGHT_DECAY": DECAY,
    "SOLVER.STAGE1.WARMUP_EPOCHS": Bounds(0, 100_000),
    "SOLVER.STAGE1.WARMUP_LR_INIT": RATE,
    "SOLVER.STAGE1.LR_MIN": RATE,
    "SOLVER.STAGE1.CHECKPOINT_PERIOD": EPOCHS,
    "SOLVER.STAGE1.LOG_PERIOD": COUNT,
    "SOLVER.STAGE2.IMS_PER_BATCH": BATCH,
    "SOLVER.STAGE2.MAX_EPOCHS": EPOCHS,
    "SOLVER.STAGE2.BASE_LR": RATE,
    "SOLVER.STAGE2.BIAS_LR_FACTOR": Bounds(0, 1000),
    "SOLVER.STAGE2.MOMENTUM": SGD_MOMENTUM,
    "SOLVER.STAGE2.WEIGHT_DECAY": DECAY,
    "SOLVER.STAGE2.WEIGHT_DECAY_BIAS": DECAY,
    "SOLVER.STAGE2.CENTER_LR": RATE,
    "SOLVER.STAGE2.CENTER_LOSS_WEIGHT": Bounds(0, 1000, above=True),
    "SOLVER.STAGE2.STEPS": EPOCHS,
    "SOLVER.STAGE2.GAMMA": Bounds(0, 1, above=True),
    "SOLVER.STAGE2.WARMUP_FACTOR": SHARE,
    "SOLVER.STAGE2.WARMUP_ITERS": Bounds(0, 100_000),
    "SOLVER.STAGE2.CHECKPOINT_PERIOD": EPOCHS,
    "SOLVER.STAGE2.LOG_PERIOD": COUNT,
    "SOLVER.STAGE2.EVAL_PERIOD": EPOCHS,
    "DSGL.EMBED_DIM": Bounds(0, 65_536),
    "DSGL.DROPOUT": Bounds(0, 1, below=True),
    "DSGL.ITERS": COUNT_OR_0,
    "DSGL.STEP_SIZE": Bounds(0, 100_000),
    "DSGL.RECLUSTER_EVERY": EPOCHS,
    "DSGL.EPS": Bounds(0, 1, above=True, below=True),
    "DSGL.MIN_SAMPLES": Bounds(2, 10_000),
    "DSGL.K1": Bounds(1, 10_000),
    "DSGL.K2": Bounds(1, 10_000),
    "DSGL.HARD_WEIGHT": SHARE,
    "DSGL.MOMENTUM": SHARE,
    "DSGL.TEMPERATURE": Bounds(0, 100, above=True),
    "DSGL.ORDERS": Bounds(1, 1000),
    "DSGL.W_DIS": SWITCH,
    "DSGL.W_KL": SWITCH,
    "DSGL.TAU_DIS": Bounds(0, 1, above=True),
    "DSGL.TAU_KL_POS": SHARE,
    "DSGL.TAU_KL_NEG": SHARE,
    "TEST.IMS_PER_BATCH": COUNT,
    "TEST.CHUNK_MB": COUNT,
    "TEST.RE_RANKING_K1": Bounds(1, 100_000),
    "TEST.RE_RANKING_K2": Bounds(1, 100_000),
    "TEST.RE_RANKING_LAMBDA": SHARE,
}

COLOURS = ("INPUT.GRAYSCALE_PROB", "INPUT.JITTER_PROB", "INPUT.AUGMIX_PROB")
LARGEST_HUE = 0.5


def check_ranges(cfg: CfgNode) -> None:
    """Numbers lie within their bounds.

    Raises:
        ConfigError: names the option, its value and its bounds.
    """
    for name, bounds in BOUNDS.items():
        value = lookup(cfg, name)
        numbers = list(value) if isinstance(value, list | tuple) else [value]
        fits = bounds.length in (None, len(numbers))
        if not fits or not all(map(bounds.hold, numbers)):
            raise ConfigError(f"{name}: {value} should be {bounds}")
    if cfg.INPUT.JITTER[3] > LARGEST_HUE:
        raise ConfigError(
            f"INPUT.JITTER: {cfg.INPUT.JITTER} should end in a hue of at most {LARGEST_HUE}"
        )

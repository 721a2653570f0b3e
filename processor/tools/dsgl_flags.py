"""The command line of train_dsgl.py: the published DSGL script's flags as overrides."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from yacs.config import CfgNode

from config import load_cfg
from config.overrides import typed_overrides
from processor.tools.command_line import config_file_parser

logger = logging.getLogger(__name__)

DEFAULT_RECIPE = Path(__file__).resolve().parents[2] / "configs" / "dsgl" / "rn50.yml"
ENABLED = ("DSGL.ENABLED", "True")

# The published script's names of data sets and models that have another name here.
DATASETS = {"dukemtmcreid": "dukemtmc"}
MODELS = {"resnet_ibn50a": "resnet50_ibn_a", "resnet_ibn101a": "resnet101_ibn_a"}


def _passes(text: str) -> str:
    """0 or less means one pass over the clusters."""
    return str(max(int(text), 0))


def _switch(text: str) -> str:
    """The strength of label smoothing is fixed: any value above 0 switches it on."""
    return str(float(text) > 0)


@dataclass(frozen=True, slots=True)
class Flag:
    """A flag with one value.

    Attributes:
        names: as typed.
        options: set to the value.
        translate: the typed value to that of the options.
        note: appended to the options in `--help`.
    """

    names: tuple[str, ...]
    options: tuple[str, ...]
    translate: Callable[[str], str] = str
    note: str = ""

    def overrides(self, text: str) -> tuple[str, ...]:
        """`KEY VALUE ...` of a typed value; raises ArgumentTypeError."""
        try:
            value = self.translate(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
        return tuple(word for option in self.options for word in (option, value))


FLAGS = (
    Flag(("-d", "--dataset"), ("DATASETS.NAMES",), lambda name: DATASETS.get(name, name)),
    Flag(("--data-dir",), ("DATASETS.ROOT_DIR",)),
    Flag(("-a", "--arch"), ("MODEL.NAME",), lambda name: MODELS.get(name, name)),
    Flag(("--features",), ("DSGL.EMBED_DIM",)),
    Flag(("--dropout",), ("DSGL.DROPOUT",)),
    Flag(("--pooling-type",), ("DSGL.POOLING",)),
    Flag(("-b", "--batch-size"), ("SOLVER.STAGE2.IMS_PER_BATCH",)),
    Flag(("-j", "--workers"), ("DATALOADER.NUM_WORKERS",)),
    Flag(("--iters",), ("DSGL.ITERS",), _passes, note="; 0 or less = one pass"),
    Flag(("--epochs",), ("SOLVER.STAGE2.MAX_EPOCHS",)),
    Flag(("--step-size",), ("DSGL.STEP_SIZE",)),
    Flag(("--lr",), ("SOLVER.STAGE2.BASE_LR",)),
    Flag(("--weight-decay",), ("SOLVER.STAGE2.WEIGHT_DECAY", "SOLVER.STAGE2.WEIGHT_DECAY_BIAS")),
    Flag(("--momentum",), ("DSGL.MOMENTUM",), note=", of the memory"),
    Flag(("--eps",), ("DSGL.EPS",)),
    Flag(("--k1",), ("DSGL.K1",)),
    Flag(("--k2",), ("DSGL.K2",)),
    Flag(("-mb", "--memorybank"), ("DSGL.MEMORY",)),
    Flag(("--hard-weight",), ("DSGL.HARD_WEIGHT",), note="; used when DSGL.MEM_LOSS is both"),
    Flag(("--temp",), ("DSGL.TEMPERATURE",)),
    Flag(("--smooth",), ("DSGL.LABEL_SMOOTHING",), _switch, note="; above 0 = True"),
    Flag(("--logs-dir",), ("OUTPUT_DIR",)),
    Flag(("--seed",), ("SOLVER.SEED",)),
    Flag(("--print-freq",), ("SOLVER.STAGE2.LOG_PERIOD",)),
    Flag(("--eval-step",), ("SOLVER.STAGE2.EVAL_PERIOD",)),
)


def build_parser() -> argparse.ArgumentParser:
    """A parser of flags and `KEY VALUE ...`, for `parse_anywhere`."""
    parser = config_file_parser("Train without labels (DSGL).")
    for flag in FLAGS:
        parser.add_argument(
            *flag.names,
            dest="flags",
            action="append",
            type=flag.overrides,
            default=[],
            metavar="VALUE",
            help=" and ".join(flag.options) + flag.note,
        )
    parser.add_argument(
        "--num-instances",
        type=int,
        metavar="VALUE",
        help="DATALOADER.NUM_INSTANCE with sampler softmax_triplet; 0 = sampler softmax",
    )
    sizes = "INPUT.SIZE_TRAIN and INPUT.SIZE_TEST; the other side stays as configured"
    parser.add_argument("--height", type=int, metavar="VALUE", help=f"of {sizes}")
    parser.add_argument("--width", type=int, metavar="VALUE", help=f"of {sizes}")
    parser.add_argument("--resume", action="store_true", help="SOLVER.RESUME auto")
    parser.add_argument("--rerank", action="store_true", help="TEST.RE_RANKING True")
    parser.add_argument("--eps-gap", metavar="VALUE", help="no effect")
    return parser


def load_dsgl_recipe(parsed: argparse.Namespace) -> CfgNode:
    """The configuration to train without labels; typed `KEY VALUE` win over flags.

    Raises:
        ConfigError, FileNotFoundError, UnknownOptionError: see `typed_overrides` and `load_cfg`.
    """
    typed = typed_overrides(parsed.opts)
    config_file = parsed.config_file or str(DEFAULT_RECIPE)
    if parsed.eps_gap is not None:
        logger.warning("--eps-gap has no effect, as in the published script")
    return load_cfg(config_file, [*flag_overrides(parsed, config_file), *typed, *ENABLED])


def flag_overrides(parsed: argparse.Namespace, config_file: str) -> list[str]:
    """`KEY VALUE ...` of the flags; one side of an image is completed from the config file."""
    opts = [word for given in parsed.flags for word in given]
    if parsed.num_instances == 0:
        opts += ["DATALOADER.SAMPLER", "softmax"]
    elif parsed.num_instances is not None:
        opts += ["DATALOADER.SAMPLER", "softmax_triplet"]
        opts += ["DATALOADER.NUM_INSTANCE", str(parsed.num_instances)]
    if parsed.height is not None or parsed.width is not None:
        height, width = load_cfg(config_file, ENABLED, quiet=True).INPUT.SIZE_TRAIN
        height = height if parsed.height is None else parsed.height
        width = width if parsed.width is None else parsed.width
        size = str([height, width])
        opts += ["INPUT.SIZE_TRAIN", size, "INPUT.SIZE_TEST", size]
    if parsed.resume:
        opts += ["SOLVER.RESUME", "auto"]
    if parsed.rerank:
        opts += ["TEST.RE_RANKING", "True"]
    return opts

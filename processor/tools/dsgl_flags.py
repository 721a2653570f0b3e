"""The command line of train_dsgl.py: the flags of the published DSGL script as overrides."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from config import load_cfg
from processor.tools.command_line import Arguments, config_file_parser, parse_anywhere

logger = logging.getLogger(__name__)

DEFAULT_RECIPE = Path(__file__).resolve().parents[2] / "configs" / "dsgl" / "rn50.yml"
ENABLED = ("DSGL.ENABLED", "True")

# Names that the published script has for what is called otherwise here.
DATASETS = {"dukemtmcreid": "dukemtmc"}
MODELS = {"resnet_ibn50a": "resnet50_ibn_a", "resnet_ibn101a": "resnet101_ibn_a"}


def _passes(text: str) -> str:
    """No number of iterations: one pass."""
    return str(max(int(text), 0))


def _switch(text: str) -> str:
    """The strength of label smoothing is fixed: any above 0 switches it on."""
    return str(float(text) > 0)


@dataclass(frozen=True, slots=True)
class Flag:
    """A flag with one value.

    Attributes:
        names: as typed.
        options: what the value is given to.
        translate: from the value as typed to that of the options.
        note: what `--help` says besides.
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
            raise argparse.ArgumentTypeError(f"{text!r} is no number") from None
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
    Flag(("--hard-weight",), ("DSGL.HARD_WEIGHT",), note="; counts with DSGL.MEM_LOSS both"),
    Flag(("--temp",), ("DSGL.TEMPERATURE",)),
    Flag(("--smooth",), ("DSGL.LABEL_SMOOTHING",), _switch, note="; above 0 = True"),
    Flag(("--logs-dir",), ("OUTPUT_DIR",)),
    Flag(("--seed",), ("SOLVER.SEED",)),
    Flag(("--print-freq",), ("SOLVER.STAGE2.LOG_PERIOD",)),
    Flag(("--eval-step",), ("SOLVER.STAGE2.EVAL_PERIOD",)),
)


def dsgl_opts(arguments: Sequence[str] | None = None) -> Arguments:
    """Configuration file and overrides of a command line; typed `KEY VALUE` win over flags.

    Args:
        arguments: the words; None takes those of the program.

    Raises:
        ConfigError, FileNotFoundError: one of --height and --width is given, and the file from
            which the other is taken cannot be loaded.
    """
    parsed = parse_anywhere(_parser(), arguments)
    config_file = parsed.config_file or str(DEFAULT_RECIPE)
    opts = [word for given in parsed.overrides for word in given]
    if parsed.num_instances is not None:
        opts += _instances(parsed.num_instances)
    if (parsed.height, parsed.width) != (None, None):
        opts += _image_size(parsed.height, parsed.width, config_file)
    if parsed.resume:
        opts += ["SOLVER.RESUME", "auto"]
    if parsed.rerank:
        opts += ["TEST.RE_RANKING", "True"]
    if parsed.eps_gap is not None:
        logger.warning("--eps-gap: without effect, as in the published script")
    return Arguments(config_file, [*opts, *parsed.opts, *ENABLED])


def _parser() -> argparse.ArgumentParser:
    parser = config_file_parser("Train without labels (DSGL).")
    for flag in FLAGS:
        parser.add_argument(
            *flag.names,
            dest="overrides",
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
        help="DATALOADER.NUM_INSTANCE with the sampler softmax_triplet; 0 = the sampler softmax",
    )
    sizes = "INPUT.SIZE_TRAIN and INPUT.SIZE_TEST; alone, the other one stays as configured"
    parser.add_argument("--height", type=int, metavar="VALUE", help=f"of {sizes}")
    parser.add_argument("--width", type=int, metavar="VALUE", help=f"of {sizes}")
    parser.add_argument("--resume", action="store_true", help="SOLVER.RESUME auto")
    parser.add_argument("--rerank", action="store_true", help="TEST.RE_RANKING True")
    parser.add_argument("--eps-gap", metavar="VALUE", help="without effect")
    parser.add_argument(
        "opts", nargs="*", metavar="KEY VALUE", help="overrides, e.g. DSGL.RECLUSTER_EVERY 2"
    )
    return parser


def _instances(count: int) -> list[str]:
    if count == 0:
        return ["DATALOADER.SAMPLER", "softmax"]
    return ["DATALOADER.SAMPLER", "softmax_triplet", "DATALOADER.NUM_INSTANCE", str(count)]


def _image_size(height: int | None, width: int | None, config_file: str) -> list[str]:
    configured = load_cfg(config_file, ENABLED, quiet=True).INPUT.SIZE_TRAIN
    given = (height, width)
    size = str([old if new is None else new for old, new in zip(configured, given, strict=True)])
    return ["INPUT.SIZE_TRAIN", size, "INPUT.SIZE_TEST", size]

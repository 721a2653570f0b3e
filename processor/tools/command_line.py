"""From the command line to a run: arguments, log, and errors as one line."""

from __future__ import annotations

import argparse
import logging
import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from config import ConfigError, UnknownOptionError
from datasets.images.decode import BadImageError
from processor.runtime import distributed
from processor.runtime.log import log_to
from processor.runtime.signals import Interrupted
from processor.training.epoch import NonFiniteLossError

logger = logging.getLogger(__name__)

TRACEBACK_VARIABLE = "REID_TRACEBACK"
_FLAG = re.compile(r"-(?![\d.])")  # and no negative number
_OPTION = re.compile(r"OUTPUT_DIR|[A-Z][A-Z0-9_]*(\.[A-Z][A-Z0-9_]*)+")

# What a user can mend: shown as one line. Anything else is a defect and keeps its traceback.
USER_ERRORS = (
    ConfigError,
    UnknownOptionError,
    BadImageError,
    NonFiniteLossError,
    FileNotFoundError,
    NotADirectoryError,
    PermissionError,
    MemoryError,
    ValueError,
)


@dataclass(frozen=True, slots=True)
class Arguments:
    """A parsed command line.

    Attributes:
        config_file: YAML file, or None.
        opts: `KEY VALUE ...` overrides.
    """

    config_file: str | None
    opts: list[str]


def config_file_parser(description: str) -> argparse.ArgumentParser:
    """A parser of `--config_file FILE`, and of what torch's launchers add."""
    parser = argparse.ArgumentParser(
        description=description,
        epilog="Every option has a comment in config/defaults.py; recipes are under configs/.",
    )
    add_config_file(parser)
    parser.add_argument("--local_rank", default=None, help=argparse.SUPPRESS)
    return parser


def add_config_file(parser: argparse.ArgumentParser, *, required: bool = False) -> None:
    """The flag `--config_file FILE`."""
    names = ("--config_file", "--config-file", "--config")
    parser.add_argument(*names, required=required, metavar="FILE", help="a YAML file")


def parse_arguments(description: str, arguments: Sequence[str] | None = None) -> Arguments:
    """`--config_file FILE KEY VALUE ...`, as CLIP-ReID's users type it."""
    parser = config_file_parser(description)
    parser.add_argument(
        "opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="overrides, e.g. SOLVER.SEED 1"
    )
    parsed = parser.parse_args(arguments)
    return Arguments(parsed.config_file or None, parsed.opts)


def parse_anywhere(
    parser: argparse.ArgumentParser, arguments: Sequence[str] | None = None
) -> argparse.Namespace:
    """Parse `KEY VALUE ...` into `opts` on both sides of the flags; argparse takes one side only.

    A flag with a list of words ends before the first KEY. An unknown flag ends the program, as does
    anything left over where there are no `opts`.
    """
    parsed, rest = parser.parse_known_args(arguments)
    flags = [word for word in rest if _FLAG.match(word)]
    if flags or (rest and "opts" not in parsed):
        parser.error(f"unrecognized arguments: {' '.join(flags or rest)}")
    if "opts" in parsed:
        parsed.opts = [*parsed.opts, *_take_overrides(parsed), *rest]
    return parsed


def split_overrides(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Names and, behind them, `KEY VALUE ...`; a KEY is in capitals, such as SOLVER.SEED."""
    for place, word in enumerate(words):
        if _OPTION.fullmatch(word) and not Path(word).exists():
            return list(words[:place]), list(words[place:])
    return list(words), []


def _take_overrides(parsed: argparse.Namespace) -> list[str]:
    """Remove `KEY VALUE ...` from the ends of lists of words."""
    taken: list[str] = []
    for name, words in vars(parsed).items():
        if (
            name == "opts"
            or not isinstance(words, list)
            or not all(isinstance(x, str) for x in words)
        ):
            continue
        kept, overrides = split_overrides(words)
        setattr(parsed, name, kept)
        taken += overrides
    return taken


def run(action: Callable[[], object]) -> None:
    """Run a program; errors that the user can mend become one line and exit status 1."""
    log_to()
    with distributed.joined_processes():
        log_to()
        try:
            action()
        except Interrupted:
            logger.info("stopped by SIGTERM; SOLVER.RESUME auto goes on if last.pth is there")
            sys.exit(0)
        except KeyboardInterrupt:
            logger.error("interrupted; SOLVER.RESUME auto goes on after the last finished epoch")
            sys.exit(130)
        except USER_ERRORS as error:
            if os.environ.get(TRACEBACK_VARIABLE):
                raise
            distributed.let_first_process_speak()
            logger.error("%s", error)
            error.with_traceback(None)  # lets go of data loaders, so that their workers end at once
            if type(error) is ValueError:  # of this program or of a library
                logger.info("%s=1 in the environment shows where", TRACEBACK_VARIABLE)
            sys.exit(1)
        except RuntimeError as error:
            if not distributed.is_lost_process(error):
                raise
            distributed.let_first_process_speak()
            logger.error("another process of this run was killed or ended with an error of its own")
            sys.exit(1)


IMAGES = (
    "files, folders with their subfolders, CSV files with a column path, or splits of data sets "
    "such as market1501:query"
)
"""What `read_image_lists` takes, in words."""


def add_checkpoint(parser: argparse.ArgumentParser) -> None:
    """The model to work with."""
    parser.add_argument(
        "checkpoint", metavar="CHECKPOINT", help="a trained model, e.g. runs/demo/last.pth"
    )


def add_overrides(parser: argparse.ArgumentParser, example: str) -> None:
    """`KEY VALUE ...`; the example is one that is of use for the sub-command."""
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help=f"overrides, e.g. {example}")


def add_data(parser: argparse.ArgumentParser) -> None:
    """Labelled data sets, as `open_evaluation` takes them."""
    parser.add_argument(
        "--data",
        nargs="+",
        default=[],
        metavar="NAME",
        help="data sets or folders whose test splits are used (default: the checkpoint's)",
    )


def positive(text: str) -> int:
    """A number of things on a command line, 1 or more."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, got {number}")
    return number


def place_output(given: str | Path | None, checkpoint: str, name: str) -> Path:
    """Where a sub-command writes: where --output says, else beside the checkpoint."""
    return Path(checkpoint).parent / name if given is None else Path(given)

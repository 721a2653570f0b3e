"""Command lines: `--config_file FILE KEY VALUE ...`, and the arguments that sub-commands share.

Entry scripts parse before they import torch, which takes seconds: keep this file free of it.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from yacs.config import CfgNode

from config import ConfigError, load_cfg, require_labels
from config.overrides import is_key, typed_overrides
from processor.checkpoints.place import output_folder
from processor.runtime.outputs import check_output_file, check_output_folder

PLOT_SUFFIXES = (".png", ".svg", ".pdf")
SHEET_SUFFIXES = (".png", ".jpg", ".webp")
COMPLETION_VARIABLE = "_ARGCOMPLETE"
_FLAG = re.compile(r"-(?![\d.])")  # but not a negative number


@dataclass(frozen=True, slots=True)
class Arguments:
    """A parsed command line.

    Attributes:
        config_file: YAML file, or None.
        opts: `KEY VALUE ...` overrides as typed, not checked yet.
    """

    config_file: str | None
    opts: list[str]


def config_file_parser(description: str) -> argparse.ArgumentParser:
    """A parser of `--config_file FILE KEY VALUE ...`; torch's launchers add `--local_rank`."""
    parser = argparse.ArgumentParser(
        description=description,
        epilog="config/defaults.py lists every option with a comment; recipes are in configs/.",
    )
    add_config_file(parser)
    parser.add_argument("--local_rank", default=None, help=argparse.SUPPRESS)
    add_overrides(parser, "SOLVER.SEED 1")
    return parser


def parse_arguments(
    parser: argparse.ArgumentParser, words: Sequence[str] | None = None
) -> Arguments:
    """Parse `--config_file FILE KEY VALUE ...`, the command line of CLIP-ReID."""
    parsed = parse_anywhere(parser, words)
    return Arguments(parsed.config_file or None, parsed.opts)


def load_recipe(arguments: Arguments, example: str, added: Sequence[str] = ()) -> CfgNode:
    """The configuration to train with identity labels.

    Args:
        arguments: as typed.
        example: a recipe, to be named in an error.
        added: overrides of the program; typed ones win.

    Raises:
        ConfigError: neither a config file nor MODEL.NAME is given; see also `typed_overrides`,
            `load_cfg` and `require_labels`.
        FileNotFoundError, UnknownOptionError: see `load_cfg`.
    """
    opts = typed_overrides(arguments.opts)
    if arguments.config_file is None and "MODEL.NAME" not in opts[::2]:
        raise ConfigError(f"--config_file is missing; start from a recipe: --config_file {example}")
    return require_labels(load_cfg(arguments.config_file, [*added, *opts]))


def parse_anywhere(
    parser: argparse.ArgumentParser, words: Sequence[str] | None = None
) -> argparse.Namespace:
    """Parse `KEY VALUE ...` into `opts` wherever they stand; argparse expects them in one place.

    They end a list of words (`--data a b KEY VALUE`) and are never a CHECKPOINT that may be left
    out. With a default for `names`, words before the first KEY go there. Unknown flags end the
    program, as do left-over words of a parser without `opts`. When argcomplete's shell function
    calls the program, it prints completions and ends.
    """
    if words is None:
        _end_quietly_on_ctrl_c()
    if COMPLETION_VARIABLE in os.environ:
        import argcomplete  # optional

        argcomplete.autocomplete(parser)
    parsed, rest = parser.parse_known_args(words)
    flags = [word for word in rest if _FLAG.match(word)]
    if flags or (rest and "opts" not in parsed):
        parser.error(f"unrecognized arguments: {' '.join(flags or rest)}")
    if "opts" in parsed:
        parsed.opts = [*_take_checkpoint(parsed), *parsed.opts, *_take_overrides(parsed), *rest]
    if "names" in parsed:
        parsed.names, parsed.opts = split_overrides(parsed.opts)
    return parsed


def _end_quietly_on_ctrl_c() -> None:
    """Without a traceback from the imports of the next seconds; then `run_program` listens."""
    in_main_thread = threading.current_thread() is threading.main_thread()
    if in_main_thread and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def split_overrides(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Words before the first KEY, and `KEY VALUE ...`."""
    for place, word in enumerate(words):
        if is_key(word):
            return list(words[:place]), list(words[place:])
    return list(words), []


def _take_checkpoint(parsed: argparse.Namespace) -> list[str]:
    """Remove a KEY from where a CHECKPOINT is expected."""
    word = getattr(parsed, "checkpoint", None)
    if word is None or not is_key(word):
        return []
    parsed.checkpoint = None
    return [word]


def _take_overrides(parsed: argparse.Namespace) -> list[str]:
    """Remove `KEY VALUE ...` from the ends of lists of words."""
    taken: list[str] = []
    for name, words in vars(parsed).items():
        if name != "opts" and isinstance(words, list) and all(isinstance(x, str) for x in words):
            kept, overrides = split_overrides(words)
            setattr(parsed, name, kept)
            taken += overrides
    return taken


IMAGES = (
    "image files, folders (with subfolders), CSV files with a column path, tar files, or splits of "
    "data sets such as market1501:query"
)
"""Help text for the places that `read_image_lists` takes."""


def add_config_file(parser: argparse.ArgumentParser, *, required: bool = False) -> None:
    """Add `--config_file FILE`."""
    names = ("--config_file", "--config-file", "--config")
    parser.add_argument(*names, required=required, metavar="FILE", help="a YAML file of options")


def add_checkpoint(parser: argparse.ArgumentParser) -> None:
    """Add the model to use."""
    parser.add_argument(
        "checkpoint", metavar="CHECKPOINT", help="a trained model, e.g. runs/demo/last.pth"
    )


def add_overrides(parser: argparse.ArgumentParser, example: str) -> None:
    """Add `KEY VALUE ...`, with an example that is useful for the command."""
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help=f"overrides, e.g. {example}")


def add_data(parser: argparse.ArgumentParser) -> None:
    """Add labelled data sets, as `open_evaluation` takes them."""
    parser.add_argument(
        "--data",
        nargs="+",
        default=[],
        metavar="NAME",
        help="data sets or folders whose test splits are used (default: the checkpoint's)",
    )


def add_gallery(parser: argparse.ArgumentParser) -> None:
    """Add the gallery that `run.py enrol` fills."""
    parser.add_argument(
        "--gallery", required=True, metavar="FOLDER", help="holds the gallery, e.g. runs/gallery"
    )


def add_amp(parser: argparse.ArgumentParser) -> None:
    """Add the flag for the precision of features."""
    parser.add_argument(
        "--amp", action="store_true", help="compute in the precision of SOLVER.AMP, not float32"
    )


def positive(text: str) -> int:
    """A count on a command line: 1 or more."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, got {number}")
    return number


def share(text: str) -> tuple[int, int]:
    """A share of the work on a command line: "3/16" is number 3, counted from 0, of 16."""
    parts = re.fullmatch(r"(\d+)/(\d+)", text)
    if parts is None or int(parts[1]) >= int(parts[2]):
        raise argparse.ArgumentTypeError(
            f"expected I/N with I from 0 to N - 1, such as 0/2 and 1/2, got {text!r}"
        )
    return int(parts[1]), int(parts[2])


def plot_file(text: str) -> Path:
    """Parse the path of a plot on a command line; an unknown suffix is an argument error."""
    return _checked_path(text, PLOT_SUFFIXES)


def sheet_file(text: str) -> Path:
    """Parse the path of a sheet of images on a command line; likewise."""
    return _checked_path(text, SHEET_SUFFIXES)


def _checked_path(text: str, suffixes: tuple[str, ...]) -> Path:
    path = Path(text)
    if path.suffix.lower() not in suffixes:
        raise argparse.ArgumentTypeError(f"{text!r} should end in one of {', '.join(suffixes)}")
    return path


def place_file(given: str | Path | None, checkpoint: str, name: str) -> Path:
    """The output file of a sub-command: --output, else `name` next to the checkpoint.

    Call it before any work: raises ValueError if the file cannot be written.
    """
    path = output_folder(checkpoint) / name if given is None else Path(given)
    check_output_file(path, "--output")
    return path


def place_folder(given: str | Path | None, checkpoint: str, name: str) -> Path:
    """The output folder of a sub-command; see `place_file`."""
    path = output_folder(checkpoint) / name if given is None else Path(given)
    check_output_folder(path, "--output")
    return path

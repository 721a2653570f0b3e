"""Arguments that several sub-commands share."""

from __future__ import annotations

import argparse
from pathlib import Path

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

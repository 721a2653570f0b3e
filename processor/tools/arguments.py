"""Arguments that several sub-commands share."""

from __future__ import annotations

import argparse


def add_evaluation_arguments(parser: argparse.ArgumentParser, example: str) -> None:
    """A checkpoint, data sets and overrides, as `open_evaluation` takes them.

    Args:
        parser: of a sub-command.
        example: `KEY VALUE` that is of use for it.
    """
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="e.g. runs/demo/last.pth")
    parser.add_argument(
        "--data",
        nargs="+",
        default=[],
        metavar="NAME",
        help="data sets or folders whose test splits are used (default: the checkpoint's)",
    )
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help=f"overrides, e.g. {example}")

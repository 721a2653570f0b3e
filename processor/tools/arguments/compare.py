"""Same identity or not: the distance of two images, and the decision of a threshold."""

from __future__ import annotations

import argparse

from processor.tools.command_line import add_checkpoint, add_overrides


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `run.py compare`."""
    add_checkpoint(parser)
    parser.add_argument("images", nargs=2, metavar="IMAGE", help="image files")
    parser.add_argument(
        "--threshold",
        metavar="FILE_OR_NUMBER",
        help="a file of run.py threshold, or a distance (default: print only the distance)",
    )
    add_overrides(parser, "MODEL.DEVICE cpu")

"""Name the identities of images by a gallery, or call them unknown."""

from __future__ import annotations

import argparse

from processor.tools.command_line import (
    IMAGES,
    add_amp,
    add_checkpoint,
    add_gallery,
    add_overrides,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `run.py identify`."""
    add_checkpoint(parser)
    parser.add_argument("images", nargs="+", metavar="IMAGES", help=IMAGES)
    add_gallery(parser)
    parser.add_argument(
        "--threshold",
        required=True,
        metavar="FILE_OR_NUMBER",
        help="largest distance to a known identity: a file of run.py threshold, or a distance",
    )
    parser.add_argument(
        "--output", metavar="FILE", help="default: identities.json next to the checkpoint"
    )
    add_amp(parser)
    add_overrides(parser, "INPUT.ON_BAD_IMAGE skip")

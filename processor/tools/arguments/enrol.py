"""Add images of named identities to a gallery."""

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
    """The options of `run.py enrol`."""
    add_checkpoint(parser)
    parser.add_argument(
        "images",
        nargs="+",
        metavar="IMAGES",
        help=f"{IMAGES}; in a folder, each subfolder is named after its identity",
    )
    add_gallery(parser)
    parser.add_argument("--name", metavar="NAME", help="all images show this identity")
    add_amp(parser)
    add_overrides(parser, "INPUT.ON_BAD_IMAGE skip")

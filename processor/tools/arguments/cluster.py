"""Group unlabelled images by identity."""

from __future__ import annotations

import argparse

from processor.tools.command_line import IMAGES, add_amp, add_checkpoint, add_overrides


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `run.py cluster`."""
    add_checkpoint(parser)
    parser.add_argument(
        "images",
        nargs="+",
        metavar="IMAGES",
        help=f"{IMAGES}; or one .npz or .npy file of run.py extract",
    )
    parser.add_argument(
        "--output",
        metavar="FOLDER",
        help="for clusters.csv, clusters.json and sheets of images (default: clusters next to the "
        "checkpoint)",
    )
    add_amp(parser)
    add_overrides(parser, "DSGL.EPS 0.5 DSGL.K1 20")

"""Find a same/different threshold: the largest distance of two images of one identity."""

from __future__ import annotations

import argparse

from processor.tools.command_line import add_checkpoint, add_data, add_overrides


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `run.py threshold`."""
    add_checkpoint(parser)
    add_data(parser)
    parser.add_argument(
        "--output", metavar="FOLDER", help="default: thresholds next to the checkpoint"
    )
    parser.add_argument(
        "--far",
        type=float,
        default=1e-3,
        metavar="RATE",
        help="false accept rate of the recommended threshold (default: 0.001)",
    )
    add_overrides(parser, "TEST.NECK_FEAT before")

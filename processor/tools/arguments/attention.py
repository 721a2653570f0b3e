"""Draw attention maps over images, one by one and on a sheet."""

from __future__ import annotations

import argparse

from processor.tools.command_line import IMAGES, add_checkpoint, add_overrides, positive


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `run.py attention`."""
    add_checkpoint(parser)
    parser.add_argument("images", nargs="+", metavar="IMAGES", help=IMAGES)
    parser.add_argument(
        "--method",
        choices=("rollout", "class-token", "grad-cam"),
        help="of a ViT rollout (default) or class-token, of a ResNet grad-cam",
    )
    parser.add_argument(
        "--output", metavar="FOLDER", help="default: attention, next to the checkpoint"
    )
    parser.add_argument(
        "--limit",
        type=positive,
        default=32,
        metavar="N",
        help="at most N images, evenly spaced over all (default: 32)",
    )
    add_overrides(parser, "DATASETS.ROOT_DIR /data")

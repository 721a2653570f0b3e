"""Write features of images to a file; after an interruption, the same command resumes.

Several processes share the work under torchrun, or by --shard, and give the file of one process.
"""

from __future__ import annotations

import argparse

from processor.tools.command_line import IMAGES, add_amp, add_checkpoint, add_overrides, share


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `run.py extract`."""
    add_checkpoint(parser)
    parser.add_argument("images", nargs="+", metavar="IMAGES", help=IMAGES)
    parser.add_argument(
        "--output",
        metavar="FILE",
        help="a .npz (features, paths, names, ...), or a memory-mappable .npy with a .csv of the "
        "images and a .json next to it (default: features.npz next to the checkpoint)",
    )
    parser.add_argument("--append", action="store_true", help="add the images that the file lacks")
    parser.add_argument(
        "--shard",
        type=share,
        metavar="I/N",
        help="write share I of N, counted from 0, to a folder FILE.shards: for job arrays; "
        "search and cluster read that folder too",
    )
    parser.add_argument(
        "--join", action="store_true", help="write the N shards of the same command as FILE"
    )
    parser.add_argument(
        "--float16",
        action="store_true",
        help="store features in half the size, rounded to 3 decimal digits",
    )
    parser.add_argument(
        "--memmap", action="store_true", help="write a .npy even if --output ends in .npz"
    )
    parser.add_argument(
        "--no_normalize",
        "--no-normalize",
        action="store_true",
        help="do not scale features to unit length",
    )
    add_amp(parser)
    add_overrides(parser, "TEST.IMS_PER_BATCH 64 INPUT.ON_BAD_IMAGE skip")

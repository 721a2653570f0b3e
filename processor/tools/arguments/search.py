"""Find the gallery images that are most similar to each query image or text."""

from __future__ import annotations

import argparse

from processor.tools.command_line import IMAGES, add_amp, add_checkpoint, add_overrides, positive


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `run.py search`."""
    add_checkpoint(parser)
    wanted = parser.add_mutually_exclusive_group(required=True)
    wanted.add_argument(
        "--query", nargs="+", metavar="IMAGES", help=f"images to search for: {IMAGES}"
    )
    wanted.add_argument(
        "--text",
        nargs="+",
        metavar="WORDS",
        help='descriptions to search for, each in quotes: "a person in a red coat"; best before '
        "stage 2, whose training weakens the link between words and images",
    )
    parser.add_argument(
        "--gallery",
        nargs="+",
        required=True,
        metavar="IMAGES",
        help="images to search in, likewise; or one .npz or .npy file of run.py extract",
    )
    parser.add_argument(
        "--top",
        type=positive,
        default=10,
        metavar="N",
        help="images to find per query (default: 10)",
    )
    parser.add_argument(
        "--index",
        choices=("flat", "ivfpq"),
        help="search with faiss: flat = all rows; ivfpq = approximate, with an index stored next "
        "to the gallery's file (default: exact, without faiss)",
    )
    parser.add_argument(
        "--output",
        metavar="FOLDER",
        help="for neighbours.json and sheets of images (default: search next to the checkpoint)",
    )
    parser.add_argument(
        "--threshold",
        metavar="FILE_OR_NUMBER",
        help="leave out images at a larger distance: a file of run.py threshold, or a distance",
    )
    add_amp(parser)
    add_overrides(parser, "INPUT.ON_BAD_IMAGE skip")

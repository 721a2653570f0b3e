"""Draw the training curves of one or several runs, finished or not, from their metrics.jsonl."""

from __future__ import annotations

import argparse

from processor.tools.command_line import plot_file


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `run.py curves`."""
    parser.add_argument("runs", nargs="+", metavar="RUN_FOLDER", help="OUTPUT_DIR of a run")
    parser.add_argument(
        "--output",
        type=plot_file,
        metavar="FILE",
        help="PNG, SVG or PDF (default: curves.png in the first folder)",
    )
    parser.add_argument(
        "--keys",
        nargs="+",
        metavar="KEY",
        help="quantities to draw instead of losses, accuracy, mAP, Rank-1, hits, clusters and "
        "learning rate: keys of metrics.jsonl, e.g. images_per_second synthetic_street/mAP",
    )
    parser.add_argument(
        "--mean",
        action="store_true",
        help="draw runs that differ only in their seed as one curve: their mean, in a band from "
        "the smallest to the largest value",
    )

"""Show which gallery images a model finds for its queries, right and wrong ones marked."""

from __future__ import annotations

import argparse

from processor.tools.command_line import IMAGES, add_checkpoint, add_data, add_overrides, positive

ROWS_PER_SHEET = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `run.py rank-list`."""
    add_checkpoint(parser)
    add_data(parser)
    parser.add_argument(
        "--query",
        nargs="+",
        metavar="IMAGES",
        help=f"instead of --data: query images without identities: {IMAGES}",
    )
    parser.add_argument(
        "--gallery", nargs="+", metavar="IMAGES", help="the images to search with --query, likewise"
    )
    parser.add_argument(
        "--output", metavar="FOLDER", help="default: rank_lists next to the checkpoint"
    )
    parser.add_argument(
        "--top", type=positive, default=10, metavar="N", help="ranks per query (default: 10)"
    )
    parser.add_argument(
        "--order",
        choices=("best", "worst", "random"),
        help="which queries, by average precision (default: a page of random queries and a page of "
        "the worst; without identities: random)",
    )
    parser.add_argument(
        "--queries", type=positive, default=20, metavar="N", help="per page (default: 20)"
    )
    parser.add_argument(
        "--pid", nargs="+", metavar="NAME", help="queries of these identities only, by name"
    )
    parser.add_argument(
        "--sheets", action="store_true", help=f"also write PNG sheets of {ROWS_PER_SHEET} queries"
    )
    add_overrides(parser, "TEST.RE_RANKING True")

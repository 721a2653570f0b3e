"""Remove identities from a gallery."""

from __future__ import annotations

import argparse

from processor.tools.command_line import add_gallery


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `run.py forget`."""
    parser.add_argument("identities", nargs="+", metavar="NAME", help="all images of these go")
    add_gallery(parser)

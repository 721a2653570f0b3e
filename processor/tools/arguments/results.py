"""One table of training runs, from the files in their folders.

Runs on the same data that differ only in SOLVER.SEED, OUTPUT_DIR and SOLVER.RESUME share a row: the
mean of their last epochs' scores and, after ±, their sample standard deviation (n - 1). Unfinished
runs are listed but not averaged.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `run.py results`."""
    parser.add_argument(
        "folders",
        nargs="+",
        type=Path,
        metavar="FOLDER",
        help="of a run, or with runs at any depth",
    )
    parser.add_argument("--output", type=Path, metavar="FILE.md", help="write the table here")
    parser.add_argument("--csv", type=Path, metavar="FILE.csv", help="write it as CSV here")

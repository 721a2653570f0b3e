"""One table of training runs, from the files in their folders.

Runs on the same data that differ only in SOLVER.SEED, OUTPUT_DIR and SOLVER.RESUME share a row: the
mean of their last epochs' scores and, after ±, their sample standard deviation (n - 1). Unfinished
runs are listed but not averaged.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from processor.runtime.files import make_folder, write_text

logger = logging.getLogger(__name__)


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


def run(arguments: argparse.Namespace) -> None:
    """Print the table, and write it to the requested files, which are replaced.

    Raises:
        FileNotFoundError, ValueError: see `find_runs`.
    """
    from processor.results.runs import find_runs  # not above: --help needs no torch
    from processor.results.runs_table import group_runs, runs_csv, runs_markdown

    runs = find_runs(arguments.folders)
    groups = group_runs(runs)
    table = runs_markdown(groups)
    logger.info("%d runs of %d configurations", len(runs), len(groups))
    sys.stdout.write(f"\n{table}")  # not through the log, which wraps long lines
    for path, text in ((arguments.output, table), (arguments.csv, runs_csv(groups))):
        if path is not None:
            make_folder(path.parent)
            write_text(path, text)
            logger.info("written: %s", path)

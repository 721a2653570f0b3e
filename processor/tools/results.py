"""One table of training runs, made from their folders: nothing in it is typed by hand."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from processor.results.runs import find_runs
from processor.results.runs_table import group_runs, runs_csv, runs_markdown
from processor.runtime.files import make_folder, write_text

logger = logging.getLogger(__name__)

DESCRIPTION = "one table of the runs in folders, with means over their seeds"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `run.py results`."""
    parser.add_argument(
        "folders",
        nargs="+",
        type=Path,
        metavar="FOLDER",
        help="of a run, or of several at any depth",
    )
    parser.add_argument("--output", type=Path, metavar="FILE.md", help="write the table here")
    parser.add_argument("--csv", type=Path, metavar="FILE.csv", help="write it as CSV here")


def run(arguments: argparse.Namespace) -> None:
    """Print the table, and write it where asked; what was there is replaced.

    Raises:
        FileNotFoundError, ValueError: see `find_runs`.
    """
    runs = find_runs(arguments.folders)
    groups = group_runs(runs)
    table = runs_markdown(groups)
    logger.info("%d runs of %d configurations\n\n%s", len(runs), len(groups), table)
    for path, text in ((arguments.output, table), (arguments.csv, runs_csv(groups))):
        if path is not None:
            make_folder(path.parent)
            write_text(path, text)
            logger.info("written: %s", path)

"""One table of training runs, from the files in their folders."""

from __future__ import annotations

import argparse
import logging
import sys

from processor.results.runs import find_runs
from processor.results.runs_table import group_runs, runs_csv, runs_markdown
from processor.runtime.files import write_text
from processor.runtime.outputs import check_output_file

logger = logging.getLogger(__name__)


def run(arguments: argparse.Namespace) -> None:
    """Print the table, and write it to the requested files, which are replaced.

    Raises:
        FileNotFoundError, ValueError: see `find_runs`.
    """
    for option, file in (("--output", arguments.output), ("--csv", arguments.csv)):
        if file is not None:
            check_output_file(file, option)
    runs = find_runs(arguments.folders)
    groups = group_runs(runs)
    table = runs_markdown(groups)
    logger.info("%d runs of %d configurations", len(runs), len(groups))
    for path, text in ((arguments.output, table), (arguments.csv, runs_csv(groups))):
        if path is not None:
            write_text(path, text)
            logger.info("written: %s", path)
    encoding = sys.stdout.encoding or "utf-8"
    shown = table.encode(encoding, "backslashreplace").decode(encoding)
    sys.stdout.write(f"\n{shown}")  # not through the log, which wraps long lines

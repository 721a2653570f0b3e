"""Train once on several data sets, evaluate on several unseen ones, and print one table."""

from __future__ import annotations

import argparse

from processor.tools.command_line import add_config_file, add_overrides


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `run.py protocol`."""
    add_config_file(parser, required=True)
    parser.add_argument(
        "--dry_run",
        "--dry-run",
        action="store_true",
        help="read and check the data without training",
    )
    parser.add_argument(
        "--compare",
        action="store_true",
        help="print the published results of DATASETS.PROTOCOL, best first; this needs no data",
    )
    add_overrides(parser, "SOLVER.SEED 1")

"""Find faults of data sets before a run does; decodes every image."""

from __future__ import annotations

import argparse
from pathlib import Path

from processor.tools.command_line import add_config_file


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `run.py data-check`."""
    add_config_file(parser)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all findings to this file")
    parser.add_argument(
        "opts",
        nargs="*",
        metavar="DATA | KEY VALUE",
        help="registered names, folders or CSV files, each checked on its own; without any, the "
        "data sets of the configuration, as a run uses them. Overrides come last",
    )
    parser.set_defaults(names=[])

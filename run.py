"""Tools around a model: python run.py SUB-COMMAND --help."""

from __future__ import annotations

import argparse

from processor.tools import (
    attention,
    batches,
    compare,
    curves,
    data_check,
    embedding,
    export,
    extract,
    protocol,
    rank_list,
    results,
    search,
    threshold,
)
from processor.tools.command_line import parse_anywhere, run

TOOLS = {
    "attention": attention,
    "batches": batches,
    "compare": compare,
    "curves": curves,
    "data-check": data_check,
    "embedding": embedding,
    "export": export,
    "extract": extract,
    "protocol": protocol,
    "rank-list": rank_list,
    "results": results,
    "search": search,
    "threshold": threshold,
}


def build_parser() -> argparse.ArgumentParser:
    """A parser with all sub-commands."""
    parser = argparse.ArgumentParser(
        description="Tools around a model.",
        epilog="python run.py SUB-COMMAND --help says more; docs/using.md shows all of them.",
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=18),
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="SUB-COMMAND")
    for name, tool in TOOLS.items():
        tool.add_arguments(
            commands.add_parser(name, help=tool.DESCRIPTION, description=tool.__doc__)
        )
    return parser


def main() -> None:
    """Parse and run one sub-command."""
    arguments = parse_anywhere(build_parser())
    run(lambda: TOOLS[arguments.command].run(arguments))


if __name__ == "__main__":
    main()

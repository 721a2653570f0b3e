"""Tools around a model: python run.py SUB-COMMAND --help."""

from __future__ import annotations

import argparse

from processor.command_line import parse_anywhere, run
from processor.tools import extract, protocol, search

TOOLS = {"extract": extract, "protocol": protocol, "search": search}


def main() -> None:
    """Parse and run one sub-command."""
    parser = argparse.ArgumentParser(description="Tools around a model.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="SUB-COMMAND")
    for name, tool in TOOLS.items():
        tool.add_arguments(
            commands.add_parser(name, help=tool.DESCRIPTION, description=tool.__doc__)
        )
    arguments = parse_anywhere(parser)
    run(lambda: TOOLS[arguments.command].run(arguments))


if __name__ == "__main__":
    main()

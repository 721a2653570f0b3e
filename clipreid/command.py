"""The command `clipreid`: the entry scripts and the sub-commands of run.py under one name."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module

from clipreid import PREFIX, __version__

PROGRAMS = {
    "train": ("train_clipreid", "train CLIP-ReID in two stages"),
    "baseline": ("train", "train the baseline, the image stage alone"),
    "dsgl": ("train_dsgl", "train without labels (DSGL)"),
    "test": ("test_clipreid", "evaluate a checkpoint"),
}
"""Name -> entry script and description; the sub-commands of run.py follow them."""


def build_parser() -> argparse.ArgumentParser:
    """A parser of all commands with their arguments."""
    parser = argparse.ArgumentParser(
        prog="clipreid", description="Train, evaluate and use re-identification models."
    )
    parser.add_argument("--version", action="version", version=f"clipreid {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (script, description) in PROGRAMS.items():
        own = import_module(PREFIX + script).build_parser()
        commands.add_parser(
            name,
            help=description,
            description=own.description,
            epilog=own.epilog,
            parents=[own],
            add_help=False,  # the parent has it
        )
    import_module(f"{PREFIX}run").add_tools(commands)
    return parser


def main() -> None:
    """Run the command that was typed."""
    parser = build_parser()
    arguments = import_module(f"{PREFIX}processor.tools.command_line").parse_anywhere(parser)
    if arguments.command in PROGRAMS:
        script, _ = PROGRAMS[arguments.command]
        sys.argv = [f"clipreid {arguments.command}", *sys.argv[2:]]
        import_module(PREFIX + script).main()
    else:
        import_module(f"{PREFIX}run").main(arguments)


if __name__ == "__main__":
    main()

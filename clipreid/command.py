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
    """A parser that lists all commands; each parses its own arguments."""
    tools = import_module(f"{PREFIX}run").TOOLS
    parser = argparse.ArgumentParser(
        prog="clipreid", description="Train, evaluate and use re-identification models."
    )
    parser.add_argument("--version", action="version", version=f"clipreid {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, description in {**{n: d for n, (_, d) in PROGRAMS.items()}, **tools}.items():
        commands.add_parser(name, help=description, add_help=False)
    return parser


def main() -> None:
    """Run the command that is typed first."""
    parsed, _ = build_parser().parse_known_args(sys.argv[1:2])
    if parsed.command in PROGRAMS:
        script, _ = PROGRAMS[parsed.command]
        sys.argv = [f"clipreid {parsed.command}", *sys.argv[2:]]
        import_module(PREFIX + script).main()
    else:
        import_module(f"{PREFIX}run").main("clipreid")


if __name__ == "__main__":
    main()

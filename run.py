"""Tools around a trained model: python run.py SUB-COMMAND --help."""

from __future__ import annotations

import argparse
import importlib
import sys
from types import ModuleType

import processor.tools.environment  # noqa: F401 - first, as it names missing packages
from config.overrides import typed_overrides
from processor import tools
from processor.tools.command_line import parse_anywhere

# One line per file in processor/tools. Only the chosen one is imported, as most need torch.
TOOLS = {
    "attention": "draw attention maps over images",
    "batches": "draw the batches of random, DFGS and GS samplers side by side",
    "compare": "decide whether two images show the same identity",
    "curves": "plot training curves of one or several runs",
    "data-check": "find broken files, leaks and other faults in data sets",
    "embedding": "plot image features by t-SNE or PCA",
    "export": "write a checkpoint as ONNX, or slimmed to what retrieval needs",
    "extract": "write features of images to a file",
    "protocol": "train on DATASETS.NAMES, evaluate on all DATASETS.TARGETS",
    "rank-list": "show the images found for queries, as an HTML page",
    "results": "tabulate training runs, with means over their seeds",
    "search": "find the gallery images that are most similar to query images",
    "threshold": "find a same/different threshold and its error rates",
}


def load_tool(name: str) -> ModuleType:
    """The module of a sub-command."""
    return importlib.import_module(f"{tools.__name__}.{name.replace('-', '_')}")


def build_parser(chosen: str = "", prog: str = "run.py") -> argparse.ArgumentParser:
    """A parser that lists all sub-commands and knows the arguments of the chosen one."""
    parser = argparse.ArgumentParser(
        prog=prog, description=__doc__, epilog="docs/using.md has examples of all sub-commands."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="SUB-COMMAND")
    for name, description in TOOLS.items():
        command = commands.add_parser(name, help=description)
        if name == chosen:
            tool = load_tool(name)
            command.description = tool.__doc__
            tool.add_arguments(command)
    return parser


def run_tool(arguments: argparse.Namespace) -> None:
    """Run the sub-command with the overrides that were typed, if it takes any."""
    if "opts" in arguments:
        arguments.opts = typed_overrides(arguments.opts)
    load_tool(arguments.command).run(arguments)


def main(prog: str = "run.py") -> None:
    """Parse and run one sub-command."""
    arguments = parse_anywhere(build_parser(*sys.argv[1:2], prog=prog))
    from processor.tools.program import run_program  # not above: --help needs no torch

    run_program(lambda: run_tool(arguments))


if __name__ == "__main__":
    main()

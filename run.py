# PYTHON_ARGCOMPLETE_OK
"""Tools around a trained model: python run.py SUB-COMMAND --help."""

from __future__ import annotations

import argparse
import importlib
from types import ModuleType
from typing import TYPE_CHECKING

import processor.tools.environment  # noqa: F401 - first, as it names missing packages
from config.overrides import typed_overrides
from processor import tools
from processor.tools.command_line import parse_anywhere

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

# One line per file in processor/tools and in processor/tools/arguments. Of the former, only the
# chosen one is imported, as most need torch.
TOOLS = {
    "attention": "draw attention maps over images",
    "batches": "draw the batches of random, DFGS and GS samplers side by side",
    "cluster": "group unlabelled images by identity",
    "compare": "decide whether two images show the same identity",
    "curves": "plot training curves of one or several runs",
    "data-check": "find broken files, leaks and other faults in data sets",
    "embedding": "plot image features by t-SNE or PCA",
    "enrol": "add images of named identities to a gallery",
    "export": "write a checkpoint as ONNX, or slimmed to what retrieval needs",
    "extract": "write features of images to a file",
    "forget": "remove identities from a gallery",
    "identify": "name the identities of images by a gallery, or call them unknown",
    "protocol": "train on DATASETS.NAMES, evaluate on all DATASETS.TARGETS",
    "rank-list": "show the images found for queries, as an HTML page",
    "results": "tabulate training runs, with means over their seeds",
    "search": "find the gallery images that are most similar to query images",
    "threshold": "find a same/different threshold and its error rates",
}


def _module(folder: str, name: str) -> ModuleType:
    return importlib.import_module(f"{tools.__name__}{folder}.{name.replace('-', '_')}")


def load_tool(name: str) -> ModuleType:
    """The module that runs a sub-command."""
    return _module("", name)


def add_tools(commands: Subparsers) -> None:
    """Add every sub-command with its arguments."""
    for name, description in TOOLS.items():
        own = _module(".arguments", name)
        own.add_arguments(commands.add_parser(name, help=description, description=own.__doc__))


def build_parser() -> argparse.ArgumentParser:
    """A parser of all sub-commands."""
    parser = argparse.ArgumentParser(
        prog="run.py", description=__doc__, epilog="docs/using.md has examples of all sub-commands."
    )
    add_tools(parser.add_subparsers(dest="command", required=True, metavar="SUB-COMMAND"))
    return parser


def run_tool(arguments: argparse.Namespace) -> None:
    """Run the sub-command with the overrides that were typed, if it takes any."""
    if "opts" in arguments:
        arguments.opts = typed_overrides(arguments.opts)
    load_tool(arguments.command).run(arguments)


def main(arguments: argparse.Namespace | None = None) -> None:
    """Run one sub-command; without arguments, the one that was typed."""
    parsed = arguments or parse_anywhere(build_parser())
    from processor.tools.program import run_program  # not above: --help needs no torch

    run_program(lambda: run_tool(parsed))


if __name__ == "__main__":
    main()

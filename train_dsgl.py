"""Train without labels: python train_dsgl.py [--config_file FILE] [FLAGS] [KEY VALUE ...]."""

from __future__ import annotations

import argparse

import processor.tools.environment  # noqa: F401 - first, as it names missing packages
from processor.tools.command_line import parse_anywhere
from processor.tools.dsgl_flags import build_parser, load_dsgl_recipe


def run(arguments: argparse.Namespace) -> None:
    """Load the configuration, train."""
    from processor.experiment import train  # not above: --help needs no torch

    train(load_dsgl_recipe(arguments))


def main() -> None:
    """Parse and run."""
    arguments = parse_anywhere(build_parser())
    from processor.tools.program import run_program  # likewise

    run_program(lambda: run(arguments))


if __name__ == "__main__":
    main()

"""Train CLIP-ReID in two stages: python train_clipreid.py --config_file FILE [KEY VALUE ...]."""

from __future__ import annotations

import argparse

import processor.tools.environment  # noqa: F401 - first, as it names missing packages
from processor.tools.command_line import Arguments, config_file_parser, load_recipe, parse_arguments

EXAMPLE = "configs/person/vit_clipreid.yml"


def build_parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    return config_file_parser("Train CLIP-ReID in two stages.")


def run(arguments: Arguments) -> None:
    """Load the configuration, train."""
    from processor.experiment import train  # not above: --help needs no torch

    train(load_recipe(arguments, EXAMPLE))


def main() -> None:
    """Parse and run."""
    arguments = parse_arguments(build_parser())
    from processor.tools.program import run_program  # likewise

    run_program(lambda: run(arguments))


if __name__ == "__main__":
    main()

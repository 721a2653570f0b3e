"""Train a baseline, image stage only: python train.py --config_file FILE [KEY VALUE ...]."""

from __future__ import annotations

import argparse

import processor.tools.environment  # noqa: F401 - first, as it names missing packages
from processor.tools.command_line import Arguments, config_file_parser, load_recipe, parse_arguments

EXAMPLE = "configs/person/vit_base.yml"
WITHOUT_TEXT = ("MODEL.TEXT_TOWER", "False")


def build_parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    return config_file_parser("Train a baseline without prompts and text encoder.")


def run(arguments: Arguments) -> None:
    """Load the configuration without prompts and text encoder, train."""
    from processor.experiment import train  # not above: --help needs no torch

    train(load_recipe(arguments, EXAMPLE, WITHOUT_TEXT))


def main() -> None:
    """Parse and run."""
    arguments = parse_arguments(build_parser())
    from processor.tools.program import run_program  # likewise

    run_program(lambda: run(arguments))


if __name__ == "__main__":
    main()

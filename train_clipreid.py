"""Train CLIP-ReID in two stages: python train_clipreid.py --config_file FILE [KEY VALUE ...]."""

from __future__ import annotations

import argparse

import processor.tools.environment  # noqa: F401 - first, as it names missing packages
from processor.tools.command_line import config_file_parser, load_recipe, parse_arguments

EXAMPLE = "configs/person/vit_clipreid.yml"


def build_parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    return config_file_parser("Train CLIP-ReID in two stages.")


def main() -> None:
    """Parse, load the configuration, train."""
    arguments = parse_arguments(build_parser())
    from processor.experiment import train  # not above: --help needs no torch
    from processor.tools.program import run_program

    run_program(lambda: train(load_recipe(arguments, EXAMPLE)))


if __name__ == "__main__":
    main()

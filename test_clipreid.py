"""Evaluate: python test_clipreid.py [--config_file FILE] TEST.WEIGHT CHECKPOINT [KEY VALUE ...]."""

from __future__ import annotations

import argparse

import processor.tools.environment  # noqa: F401 - first, as it names missing packages
from config.overrides import typed_overrides
from processor.tools.command_line import config_file_parser, parse_arguments


def build_parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    return config_file_parser("Evaluate the checkpoint TEST.WEIGHT.")


def main() -> None:
    """Parse and evaluate; without a config file, the checkpoint's configuration counts."""
    arguments = parse_arguments(build_parser())
    from processor.experiment import evaluate  # not above: --help needs no torch
    from processor.tools.program import run_program

    run_program(lambda: evaluate(arguments.config_file, typed_overrides(arguments.opts)))


if __name__ == "__main__":
    main()

"""Evaluate: python test_clipreid.py [--config_file FILE] TEST.WEIGHT CHECKPOINT [KEY VALUE ...]."""

from __future__ import annotations

import argparse

import processor.tools.environment  # noqa: F401 - first, as it names missing packages
from config.overrides import typed_overrides
from processor.tools.command_line import Arguments, config_file_parser, parse_arguments


def build_parser() -> argparse.ArgumentParser:
    """The parser of the command line."""
    return config_file_parser("Evaluate the checkpoint TEST.WEIGHT.")


def run(arguments: Arguments) -> None:
    """Evaluate; without a config file, the checkpoint's configuration counts."""
    from processor.experiment import evaluate  # not above: --help needs no torch

    evaluate(arguments.config_file, typed_overrides(arguments.opts))


def main() -> None:
    """Parse and run."""
    arguments = parse_arguments(build_parser())
    from processor.tools.program import run_program  # likewise

    run_program(lambda: run(arguments))


if __name__ == "__main__":
    main()

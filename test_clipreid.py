"""Evaluate: python test_clipreid.py [--config_file FILE] TEST.WEIGHT CHECKPOINT [KEY VALUE ...]."""

from __future__ import annotations

from processor.experiment import evaluate
from processor.tools.command_line import parse_arguments, run


def main() -> None:
    """Parse and evaluate; without a configuration file the checkpoint's own is taken."""
    arguments = parse_arguments("Evaluate a checkpoint.")
    run(lambda: evaluate(arguments.config_file, arguments.opts))


if __name__ == "__main__":
    main()

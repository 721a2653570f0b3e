"""Train the baseline, image stage only: python train.py --config_file FILE [KEY VALUE ...]."""

from __future__ import annotations

from config import load_cfg, require_labels
from processor.experiment import train
from processor.tools.command_line import parse_arguments, run


def main() -> None:
    """Parse, load the configuration without the text side, train."""
    arguments = parse_arguments("Train the baseline without prompts and text encoder.")
    opts = ["MODEL.TEXT_TOWER", "False", *arguments.opts]
    run(lambda: train(require_labels(load_cfg(arguments.config_file, opts))))


if __name__ == "__main__":
    main()

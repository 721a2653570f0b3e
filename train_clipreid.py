"""Train CLIP-ReID in two stages: python train_clipreid.py --config_file FILE [KEY VALUE ...]."""

from __future__ import annotations

from config import load_cfg, require_labels
from processor.experiment import train
from processor.tools.command_line import parse_arguments, run


def main() -> None:
    """Parse, load the configuration, train."""
    arguments = parse_arguments("Train CLIP-ReID in two stages.")
    run(lambda: train(require_labels(load_cfg(arguments.config_file, arguments.opts))))


if __name__ == "__main__":
    main()

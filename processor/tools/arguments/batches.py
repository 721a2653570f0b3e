"""Draw the first batches of random P x K, DFGS and GS sampling side by side."""

from __future__ import annotations

import argparse

from processor.tools.command_line import add_config_file, add_overrides, positive, sheet_file

FEATURES = ("text", "image")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `run.py batches`."""
    parser.add_argument(
        "checkpoint", nargs="?", metavar="CHECKPOINT", help="a trained model, or name --config_file"
    )
    add_config_file(parser)
    parser.add_argument(
        "--features",
        choices=FEATURES,
        help="features to compare identities by (default: text, of their learned prompts, if there "
        "are any)",
    )
    parser.add_argument(
        "--epoch", type=positive, default=1, metavar="N", help="its first batch (default: 1)"
    )
    parser.add_argument(
        "--identities", type=positive, default=8, metavar="N", help="shown per batch (default: 8)"
    )
    parser.add_argument(
        "--output",
        type=sheet_file,
        metavar="FILE",
        help="PNG, JPEG or WebP (default: batches.png next to the checkpoint, else in OUTPUT_DIR)",
    )
    add_overrides(parser, "DATALOADER.DFGS.SKIP 2")

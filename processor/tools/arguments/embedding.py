"""Draw image features of a few identities in a plane, with their learned prompts as stars."""

from __future__ import annotations

import argparse

from processor.tools.command_line import add_checkpoint, add_overrides, plot_file, positive

MARKS = ("camera", "domain")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `run.py embedding`."""
    add_checkpoint(parser)
    parser.add_argument(
        "--data",
        nargs="+",
        default=[],
        metavar="NAME",
        help="data sets or folders (default: those of the evaluation, with --split train those of "
        "the training)",
    )
    parser.add_argument(
        "--split",
        choices=("test", "train"),
        default="test",
        help="test: query and gallery by the retrieval descriptor (default); train: training "
        "images by the projected feature, with the learned prompts",
    )
    parser.add_argument("--method", choices=("tsne", "pca"), default="tsne", help="default: tsne")
    parser.add_argument(
        "--mark", choices=MARKS, default=MARKS[0], help="meaning of the shapes (default: camera)"
    )
    parser.add_argument(
        "--max_identities",
        "--max-identities",
        type=positive,
        default=20,
        metavar="N",
        help="drawn at random from those with two images or more (default: 20)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of that draw (default: 0)")
    parser.add_argument(
        "--output",
        type=plot_file,
        metavar="FILE",
        help="PNG, SVG or PDF (default: embedding_SPLIT.png next to the checkpoint)",
    )
    add_overrides(parser, "TEST.NECK_FEAT before")

"""Write a checkpoint as ONNX, without the text side, or as a folder to publish."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from processor.tools.command_line import (
    IMAGES,
    add_checkpoint,
    add_config_file,
    add_data,
    add_overrides,
)

NUM_IMAGES = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `run.py export`."""
    add_checkpoint(parser)
    parser.add_argument(
        "--onnx",
        type=network_file(".onnx"),
        metavar="FILE.onnx",
        help="write the image side as ONNX",
    )
    parser.add_argument(
        "--preprocess",
        action="store_true",
        help="ONNX: take (B, H, W, 3) uint8 RGB images already resized to the model's input size",
    )
    parser.add_argument(
        "--normalize", action="store_true", help="ONNX: return features of unit length"
    )
    parser.add_argument(
        "--check",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="ONNX: compare its features with the model's (default)",
    )
    parser.add_argument(
        "--images",
        nargs="+",
        default=[],
        metavar="IMAGES",
        help=f"ONNX: compare on the first {NUM_IMAGES} of these instead of drawn people; int8: "
        f"measure the ranges of activations on these instead of gallery images: {IMAGES}",
    )
    parser.add_argument(
        "--slim", type=Path, metavar="FILE", help="write a checkpoint without the text side"
    )
    parser.add_argument(
        "--half",
        action="store_true",
        help="slim: float16; half the size, slightly different features",
    )
    parser.add_argument(
        "--safetensors",
        action="store_true",
        help="write a folder to publish: safetensors, configuration and a model card",
    )
    parser.add_argument(
        "--output", type=Path, metavar="FOLDER", help="safetensors: a new folder (default: by name)"
    )
    parser.add_argument(
        "--results",
        type=Path,
        metavar="FILE",
        help="safetensors: the evaluation for the card (default: the results.json of the run)",
    )
    parser.add_argument(
        "--int8",
        type=network_file(".onnx"),
        metavar="FILE",
        help="write an ONNX file that computes in 8-bit integers, measured on --data",
    )
    parser.add_argument(
        "--openvino",
        type=network_file(".xml"),
        metavar="FILE",
        help="write an OpenVINO file (float16 weights), measured on --data",
    )
    add_data(parser)
    parser.add_argument(
        "--max_drop",
        "--max-drop",
        type=float,
        metavar="POINTS",
        help="int8, openvino: refuse files that lose more mAP (default: 0.5)",
    )
    add_config_file(parser)
    add_overrides(parser, "TEST.NECK_FEAT after")


def network_file(suffix: str) -> Callable[[str], Path]:
    """The parser of a file name on a command line that has to end so."""

    def parse(text: str) -> Path:
        path = Path(text)
        if path.suffix != suffix:
            raise argparse.ArgumentTypeError(f"{text!r} should end in {suffix}")
        return path

    return parse

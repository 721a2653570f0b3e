"""Do two pictures show the same identity? Their distance, and whether a threshold accepts it."""

from __future__ import annotations

import argparse
import logging

import torch

from processor.evaluation.threshold import Threshold, read_threshold
from processor.extractor import Extractor

logger = logging.getLogger(__name__)

DESCRIPTION = "same identity or not: two pictures and a distance threshold"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `run.py compare`."""
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="e.g. runs/demo/last.pth")
    parser.add_argument("pictures", nargs=2, metavar="PICTURE", help="image files")
    parser.add_argument(
        "--threshold",
        metavar="FILE_OR_NUMBER",
        help="a file of run.py threshold, or a distance; without it the distance alone is said",
    )
    parser.add_argument("--device", default="auto", help="auto | cpu | cuda | cuda:1 | mps")
    parser.add_argument(
        "opts", nargs="*", metavar="KEY VALUE", help="overrides, e.g. TEST.NECK_FEAT before"
    )


def run(arguments: argparse.Namespace) -> None:
    """Say the distance and the decision.

    Raises:
        BadImageError, ConfigError, FileNotFoundError, ValueError: see `Extractor` and
            `read_threshold`.
    """
    extractor = Extractor(arguments.checkpoint, arguments.device, opts=arguments.opts)
    threshold = None
    if arguments.threshold is not None:
        threshold = read_threshold(arguments.threshold, extractor.description)
    first, second = extractor(arguments.pictures).double()
    logger.info("%s", decide(float(torch.linalg.vector_norm(first - second)), threshold))


def decide(distance: float, threshold: Threshold | None) -> str:
    """The decision in words, with the distance and the threshold."""
    if threshold is None:
        return (
            f"Euclidean distance {distance:.4f}; for a decision give --threshold, a distance or a "
            "file that run.py threshold writes"
        )
    same = distance <= threshold.value
    return (
        f"{'SAME identity' if same else 'DIFFERENT identities'}: Euclidean distance {distance:.4f} "
        f"{'is at most' if same else 'exceeds'} the threshold {threshold.value:.4f} "
        f"({threshold.origin})"
    )

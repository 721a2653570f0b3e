"""Same identity or not: the distance of two images, and the decision of a threshold."""

from __future__ import annotations

import argparse
import logging

import torch

from datasets.readers.tar_files import is_readable
from processor.extractor import Extractor
from processor.results.threshold import GivenThreshold, read_threshold

logger = logging.getLogger(__name__)


def run(arguments: argparse.Namespace) -> None:
    """Log the distance and the decision.

    Raises:
        BadImageError, ConfigError, FileNotFoundError, ValueError: see `Extractor` and
            `read_threshold`.
    """
    for image in arguments.images:
        if not is_readable(image):
            raise FileNotFoundError(f"no file {image}")
    extractor = Extractor(arguments.checkpoint, None, opts=arguments.opts)
    threshold = None
    if arguments.threshold is not None:
        threshold = read_threshold(arguments.threshold, extractor.description)
    first, second = extractor(arguments.images).double()
    logger.info("%s", decide(float(torch.linalg.vector_norm(first - second)), threshold))


def decide(distance: float, threshold: GivenThreshold | None) -> str:
    """The decision in words, with the distance and the threshold."""
    if threshold is None:
        return (
            f"Euclidean distance {distance:.4f}; for a decision give --threshold, a distance or a "
            "file of run.py threshold"
        )
    same = distance <= threshold.value
    return (
        f"{'SAME identity' if same else 'DIFFERENT identities'}: Euclidean distance {distance:.4f} "
        f"{'is at most' if same else 'exceeds'} the threshold {threshold.value:.4f} "
        f"({threshold.origin})"
    )

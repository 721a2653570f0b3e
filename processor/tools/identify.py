"""Name the identities of images by a gallery, or call them unknown."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator
from typing import Any

from processor.results.threshold import read_threshold
from processor.runtime.files import write_json
from processor.search.gallery import Gallery
from processor.tools.command_line import place_file
from processor.tools.extract import extract_places, open_extractor

logger = logging.getLogger(__name__)

SHOWN = 20  # images in the log; the file has all


def run(arguments: argparse.Namespace) -> None:
    """Write the identities as JSON.

    Raises:
        BadImageError, ConfigError, FileNotFoundError, ValueError: see `Extractor`,
            `read_image_lists`, `read_threshold` and `Gallery.load`.
    """
    output = place_file(arguments.output, arguments.checkpoint, "identities.json")
    extractor = open_extractor(arguments)
    threshold = read_threshold(arguments.threshold, extractor.description)
    gallery = Gallery.load(arguments.gallery, extractor)
    stored = extract_places(extractor, arguments.images)
    rows = list(identify_rows(gallery, stored.features, stored.paths, threshold.value))
    record = {
        "checkpoint": arguments.checkpoint,
        "gallery": arguments.gallery,
        "gallery_images": len(gallery),
        "threshold": {"distance": threshold.value, "origin": threshold.origin},
        "images": rows,
    }
    write_json(output, record)
    for row in rows[:SHOWN]:
        distance = "" if row["distance"] is None else f", nearest at {row['distance']:.3f}"
        logger.info("%s: %s%s", row["path"], row["name"] or "unknown", distance)
    if len(rows) > SHOWN:
        logger.info("... and %d more images", len(rows) - SHOWN)
    unknown = sum(row["name"] is None for row in rows)
    known = len(rows) - unknown
    logger.info("%d images identified, %d unknown; written: %s", known, unknown, output)


def identify_rows(
    gallery: Gallery, features: Any, paths: list[str], threshold: float
) -> Iterator[dict[str, Any]]:
    """Per image: its name (None = unknown), and the nearest row's name, key and distance."""
    for path, matches in zip(paths, gallery.search(features, top=1), strict=True):
        nearest = matches[0] if matches else None
        known = nearest is not None and nearest.distance <= threshold
        yield {
            "path": path,
            "name": nearest.name if nearest is not None and known else None,
            "nearest": nearest.name if nearest is not None else None,
            "key": nearest.key if nearest is not None else None,
            "distance": round(nearest.distance, 6) if nearest is not None else None,
        }

"""Cameras as file names tell them."""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from datasets.own.entries import Entry

logger = logging.getLogger(__name__)

FEWEST_IMAGES = 10  # to doubt cameras by their number
_IN_NAME = re.compile(  # 0007_c2s1_001, door-cam2, camera 03, c5; not webcam00001 or c7f3a9
    r"(?<![a-z0-9])c(?:am(?:era)?)?[ _-]?0*(\d+)(?:s\d+)?(?![a-z0-9])", re.IGNORECASE
)
_IN_MARS = re.compile(r"C0*(\d+)T\d+F\d+")  # 0001C1T0001F001


def find_camera(image: Path) -> str:
    """The number of the camera in a file name, or nothing."""
    match = _IN_NAME.search(image.stem) or _IN_MARS.search(image.stem)
    return match[1] if match else ""


def doubt_cameras(name: str, entries: Sequence[Entry]) -> list[Entry]:
    """The entries; without cameras if the numbers in the file names are something else.

    Numbers of frames or crops give nearly every image a camera of its own; numbers of identities
    give every camera a single identity.

    Args:
        name: of the data, for the warning.
        entries: the images.
    """
    identities = defaultdict(set)
    for entry in entries:
        identities[entry.camera].add(entry.identity)
    reason = ""
    if "" not in identities and len(entries) >= FEWEST_IMAGES:
        if 2 * len(identities) > len(entries):
            reason = f"there would be {len(identities)} cameras for {len(entries)} images"
        elif len(identities) > 1 and all(len(own) == 1 for own in identities.values()):
            reason = "each camera would show a single identity"
    if not reason:
        return list(entries)
    logger.warning(
        "own data %s: the numbers in file names such as %s are not taken as cameras: %s; a CSV "
        "file has a column for cameras",
        name,
        entries[0].path.name,
        reason,
    )
    return [replace(entry, camera="") for entry in entries]

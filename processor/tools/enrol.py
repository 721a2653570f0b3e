"""Add images of named identities to a gallery; images that it has already are left out."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from processor.extractor import Extractor
from processor.runtime.lock import locked_folder
from processor.runtime.outputs import check_output_folder
from processor.search.feature_file import StoredFeatures
from processor.search.gallery import RECORD_FILE, WAIT, Gallery
from processor.tools.extract import extract_places, open_extractor

logger = logging.getLogger(__name__)

EQUAL = 1e-4  # distance of one image's features, computed in batches of two sizes


def run(arguments: argparse.Namespace) -> None:
    """Add the images and save the gallery.

    Raises:
        BadImageError, ConfigError, FileNotFoundError, ValueError: see `Extractor`,
            `read_image_lists` and `Gallery.load`; an image without a name.
    """
    folder = Path(arguments.gallery)
    check_output_folder(folder, "--gallery")
    extractor = open_extractor(arguments)
    _open_gallery(folder, extractor)  # another model's is refused before the images are read
    stored = extract_places(extractor, arguments.images, by_folder=True)
    names = [arguments.name or name for name in stored.names]
    _check_names(stored, names)
    with locked_folder(folder, "--gallery", wait=WAIT):  # from reading to writing
        _enrol(_open_gallery(folder, extractor), stored, names, folder)


def _open_gallery(folder: Path, extractor: Extractor) -> Gallery:
    exists = (folder / RECORD_FILE).is_file()
    return Gallery.load(folder, extractor) if exists else Gallery(extractor)


def _enrol(gallery: Gallery, stored: StoredFeatures, names: Sequence[str], folder: Path) -> None:
    """Add the images that the gallery does not have, and save it."""
    found = gallery.search(stored.features, top=1)
    new = [
        row
        for row, (matches, name) in enumerate(zip(found, names, strict=True))
        if not any(match.name == name and match.distance <= EQUAL for match in matches)
    ]
    cameras = [stored.samples[row].camera for row in new]
    gallery.add(stored.features[new], [names[row] for row in new], cameras)
    gallery.save(folder)
    logger.info(
        "%d images of %d identities enrolled, %d there already; %s: %d images of %d identities",
        len(new),
        len({names[row] for row in new}),
        len(names) - len(new),
        folder,
        len(gallery),
        len(set(gallery.names)),
    )


def _check_names(stored: StoredFeatures, names: Sequence[str]) -> None:
    """Raise ValueError if an image has no name."""
    nameless = [sample.path for sample, name in zip(stored.samples, names, strict=True) if not name]
    if nameless:
        raise ValueError(
            f"{len(nameless)} images have no name, e.g. {nameless[0]}; put them into a subfolder "
            "named after the identity, give a CSV file with the column pid, or --name NAME"
        )

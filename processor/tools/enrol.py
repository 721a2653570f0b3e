"""Add images of named identities to a gallery; images that it has already are left out."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from processor.extractor import Extractor
from processor.runtime.lock import WRITE_SECONDS, locked_folder
from processor.runtime.outputs import check_output_folder
from processor.search.gallery import RECORD_FILE, Gallery
from processor.search.stored_features import StoredFeatures
from processor.tools.extract import extract_places, open_extractor

logger = logging.getLogger(__name__)

EQUAL = 1e-4  # distance of one image's features, computed in batches of two sizes
MOST_EQUAL = 100  # equal images under other names that are looked through


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
    names = [(arguments.name or name).strip() for name in stored.names]
    _check_names(stored, names)
    with locked_folder(folder, "--gallery", wait=WRITE_SECONDS):  # from reading to writing
        _enrol(_open_gallery(folder, extractor), stored, names, folder)


def _open_gallery(folder: Path, extractor: Extractor) -> Gallery:
    exists = (folder / RECORD_FILE).is_file()
    return Gallery.load(folder, extractor) if exists else Gallery(extractor)


def _enrol(gallery: Gallery, stored: StoredFeatures, names: Sequence[str], folder: Path) -> None:
    """Add the named images that the gallery does not have, and save it."""
    known = [row for row, name in enumerate(names) if name]
    equal = {
        row: {match.name for match in matches if match.distance <= EQUAL}
        for row, matches in enumerate(gallery.search(stored.features, top=MOST_EQUAL))
    }
    new = [row for row in known if names[row] not in equal[row]]
    cameras = [stored.samples[row].camera for row in new]
    gallery.add(stored.features[new], [names[row] for row in new], cameras)
    gallery.save(folder)
    logger.info(
        "%d images of %d identities enrolled, %d there already; %s: %d images of %d identities",
        len(new),
        len({names[row] for row in new}),
        len(known) - len(new),
        folder,
        len(gallery),
        len(set(gallery.names)),
    )
    if len(known) < len(names):
        logger.warning("%d images without a name left out", len(names) - len(known))
    renamed = [row for row in new if equal[row]]
    if renamed:
        logger.warning(
            "%d of the images are enrolled under another name, too, e.g. %s as %s and %s; run.py "
            "forget removes a name",
            len(renamed),
            stored.paths[renamed[0]],
            names[renamed[0]],
            ", ".join(sorted(equal[renamed[0]])),
        )


def _check_names(stored: StoredFeatures, names: Sequence[str]) -> None:
    """Raise ValueError if no image has a name."""
    if not any(names):
        raise ValueError(
            f"{len(stored.samples)} images have no name, e.g. {stored.paths[0]}; put them into a "
            "subfolder named after the identity, give a CSV file with the column pid, or --name "
            "NAME"
        )

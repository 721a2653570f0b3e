"""Remove identities from a gallery."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from processor.runtime.lock import WRITE_SECONDS, locked_folder
from processor.runtime.outputs import check_output_folder
from processor.search.gallery import Gallery

logger = logging.getLogger(__name__)


def run(arguments: argparse.Namespace) -> None:
    """Remove all images of the identities, from the disk as well.

    Raises:
        FileNotFoundError, ValueError: see `Gallery.load` and `Gallery.remove`.
    """
    folder = Path(arguments.gallery)
    check_output_folder(folder, "--gallery")
    Gallery.load(folder)  # before a folder is made for a name that is wrong
    with locked_folder(folder, "--gallery", wait=WRITE_SECONDS):  # from reading to writing
        gallery = Gallery.load(folder)
        removed = gallery.remove(names=arguments.identities)
        gallery.save(folder)
    logger.info(
        "%d images of %s removed; %s: %d images of %d identities",
        removed,
        ", ".join(dict.fromkeys(arguments.identities)),
        arguments.gallery,
        len(gallery),
        len(set(gallery.names)),
    )

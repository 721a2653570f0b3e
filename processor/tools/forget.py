"""Remove identities from a gallery."""

from __future__ import annotations

import argparse
import logging

from processor.search.gallery import Gallery

logger = logging.getLogger(__name__)


def run(arguments: argparse.Namespace) -> None:
    """Remove all images of the identities, from the disk as well.

    Raises:
        FileNotFoundError, ValueError: see `Gallery.load` and `Gallery.remove`.
    """
    gallery = Gallery.load(arguments.gallery)
    removed = gallery.remove(names=arguments.identities)
    gallery.save(arguments.gallery)
    logger.info(
        "%d images of %s removed; %s: %d images of %d identities",
        removed,
        ", ".join(dict.fromkeys(arguments.identities)),
        arguments.gallery,
        len(gallery),
        len(set(gallery.names)),
    )

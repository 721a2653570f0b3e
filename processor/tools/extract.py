"""Write features of images to a file; after an interruption, the same command resumes."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from datasets.image_lists import read_image_lists
from processor.extractor import Extractor
from processor.runtime import distributed
from processor.runtime.signals import Interrupted
from processor.search.extract import (
    SUFFIXES,
    Images,
    append_to_file,
    extract_in_memory,
    extract_to_file,
    join_lists,
)
from processor.search.feature_file import StoredFeatures, read_features
from processor.search.feature_record import check_same_model
from processor.tools.command_line import place_file

logger = logging.getLogger(__name__)


def open_extractor(arguments: argparse.Namespace, *, normalize: bool = True) -> Extractor:
    """A checkpoint's extractor, with device, batch size and workers of its configuration.

    Raises:
        ValueError: several processes were started.
    """
    if distributed.size() > 1:
        raise ValueError(
            f"run.py {arguments.command} runs in a single process; start it without torchrun"
        )
    return Extractor(
        arguments.checkpoint,
        None,
        batch_size=None,
        amp=arguments.amp,
        normalize=normalize,
        num_workers=None,
        opts=arguments.opts,
    )


def run(arguments: argparse.Namespace) -> None:
    """Extract features and write them.

    Raises:
        BadImageError, ConfigError, FileNotFoundError, ValueError: see `Extractor`,
            `read_image_lists` and `extract_to_file`.
    """
    output = place_file(arguments.output, arguments.checkpoint, "features.npz")
    if arguments.memmap and output.suffix == ".npz":
        output = output.with_suffix(".npy")
    extractor = open_extractor(arguments, normalize=not arguments.no_normalize)
    images = read_places(extractor, arguments.images)
    write = append_to_file if arguments.append else extract_to_file
    try:
        write(extractor, images, output, on_bad_image=extractor.cfg.INPUT.ON_BAD_IMAGE)
    except Interrupted:
        logger.info("%s: to continue, run the same command again", output)
        raise


def read_places(extractor: Extractor, places: Sequence[str], *, by_folder: bool = False) -> Images:
    """The images of `read_image_lists`; raises as it does."""
    root = extractor.cfg.DATASETS.ROOT_DIR
    return join_lists(extractor, read_image_lists(places, root, by_folder=by_folder))


def extract_places(
    extractor: Extractor, places: Sequence[str], *, by_folder: bool = False
) -> StoredFeatures:
    """The features of the images of `read_image_lists`; raises as it and `Extractor.stream` do."""
    images = read_places(extractor, places, by_folder=by_folder)
    return extract_in_memory(extractor, images, on_bad_image=extractor.cfg.INPUT.ON_BAD_IMAGE)


def read_or_extract(
    extractor: Extractor, places: Sequence[str], option: str, *, by_folder: bool = False
) -> StoredFeatures:
    """The features in one file of `run.py extract`, or those of images.

    Raises:
        ValueError: another model's file, or a file together with other places.
    """
    file = features_file(places)
    if file is None:
        return extract_places(extractor, places, by_folder=by_folder)
    if len(places) > 1:
        raise ValueError(f"{option}: {file} cannot be used together with other places")
    stored = read_features(file)
    wanted = {"model": extractor.description, "checkpoint": extractor.checkpoint}
    check_same_model(file, stored.record, wanted)
    return stored


def features_file(places: Sequence[str]) -> Path | None:
    """The first file of features among some places, or None."""
    return next((Path(place) for place in places if Path(place).suffix in SUFFIXES), None)

"""Write features of images to a file; after an interruption, the same command resumes."""

from __future__ import annotations

import argparse
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

from datasets.image_lists import read_image_lists
from datasets.readers.tar_files import is_tar
from processor.extractor import Extractor
from processor.runtime import distributed
from processor.runtime.signals import Interrupted
from processor.search.extract import (
    Writing,
    append_to_file,
    batches_of,
    describe_extraction,
    extract_in_memory,
    extract_shard,
    extract_to_file,
)
from processor.search.feature_file import growing_file
from processor.search.feature_record import Record, check_same_model
from processor.search.images import Images, join_lists
from processor.search.joining import is_complete, join_shards
from processor.search.shard_files import Shard, join_digests, shards_folder
from processor.search.stored_features import FILES, StoredFeatures, read_features
from processor.tools.command_line import place_file

logger = logging.getLogger(__name__)


def open_extractor(
    arguments: argparse.Namespace, *, normalize: bool = True, alone: bool = True
) -> Extractor:
    """A checkpoint's extractor, with device, batch size and workers of its configuration.

    Args:
        arguments: of the command.
        normalize: scale features to unit length.
        alone: the command runs in a single process.

    Raises:
        ValueError: several processes were started for a command that runs alone.
    """
    if alone and distributed.size() > 1:
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
    """Extract features and write them, or a shard of them, or join the shards.

    Raises:
        BadImageError, ConfigError, FileNotFoundError, ValueError: see `Extractor`,
            `read_image_lists`, `extract_to_file`, `extract_shard` and `join_shards`.
    """
    output = place_file(arguments.output, arguments.checkpoint, "features.npz")
    if arguments.memmap and output.suffix == ".npz":
        output = output.with_suffix(".npy")
    growing_file(output)  # an unknown ending is refused before any work
    tars = [Path(place) for place in arguments.images if is_tar(Path(place))]
    whole = arguments.shard is None  # one command for all images
    several = distributed.size() > 1 or bool(tars) or not whole
    if several:
        _check_shards(arguments, tars)
    if arguments.join:
        join_shards(shards_folder(output), output)
        return
    extractor = open_extractor(arguments, normalize=not arguments.no_normalize, alone=False)
    writing = Writing(extractor.cfg.INPUT.ON_BAD_IMAGE, half=arguments.float16)
    try:
        if several:
            _write_shards(arguments, extractor, tars, output, writing)
        else:
            write = append_to_file if arguments.append else extract_to_file
            write(extractor, read_places(extractor, arguments.images), output, writing)
    except Interrupted:
        logger.info("%s: to continue, run the same command again", output)
        raise


def _check_shards(arguments: argparse.Namespace, tars: Sequence[Path]) -> None:
    """Raise ValueError for options that shards do not have."""
    if arguments.join and arguments.shard is not None:
        raise ValueError("--join joins the shards of all commands; leave --shard out")
    if arguments.append:
        raise ValueError("--append: not with shards, tar files or torchrun")
    if arguments.shard is not None and distributed.size() > 1:
        raise ValueError("--shard: torchrun already divides the work; use only one of the two")
    if tars and len(tars) < len(arguments.images):
        raise ValueError(
            f"IMAGES: {len(tars)} tar files and {len(arguments.images) - len(tars)} other places; "
            "extract them by two commands"
        )


def _write_shards(
    arguments: argparse.Namespace,
    extractor: Extractor,
    tars: Sequence[Path],
    output: Path,
    writing: Writing,
) -> None:
    """Write this process's shards; if there is no other command, join all of them."""
    folder = shards_folder(output)
    alone = arguments.shard is None
    job = Shard(*(arguments.shard or (distributed.rank(), distributed.size())))
    if tars:
        exists = alone and output.is_file()
        if exists and is_complete(output, _describe_tars(extractor, tars, writing)):
            return
        for number in job.share(len(tars)):
            images = read_places(extractor, [str(tars[number])])
            extract_shard(extractor, images, Shard(number, len(tars)), folder, writing)
    else:
        images = read_places(extractor, arguments.images)
        if alone and is_complete(output, describe_extraction(extractor, images, writing)):
            return
        own = batches_of(job, len(images.samples), extractor.batch_size)
        extract_shard(extractor, images, job, folder, writing, own=own)
    if not alone:
        return
    distributed.wait_for_all()
    if distributed.is_first():
        join_shards(folder, output)
        shutil.rmtree(folder)


def _describe_tars(extractor: Extractor, tars: Sequence[Path], writing: Writing) -> Record:
    """The record of the features of all tar files together."""
    lists = [read_places(extractor, [str(tar)]) for tar in tars]
    records = [describe_extraction(extractor, images, writing) for images in lists]
    count = sum(record["images"] for record in records)
    digest = join_digests([record["images_sha256"] for record in records])
    return {**records[0], "images": count, "images_sha256": digest}


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
    """The features in one file or folder of shards of `run.py extract`, or those of images.

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
    """The first file of features, or folder of shards, among some places, or None."""
    return next((Path(place) for place in places if Path(place).suffix in FILES), None)

"""Extraction of features into a file; an interrupted extraction can be resumed."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch

from datasets.records import Sample
from processor.extractor import Extractor
from processor.features import FeatureTable
from processor.search.feature_file import FeatureFile, growing_file, read_record, read_samples
from processor.search.feature_record import (
    FORMAT,
    Record,
    check_complete,
    check_same_record,
)
from processor.search.images import Images, number_by_names
from processor.search.shard_files import Shard, check_count, is_done, mark_done
from processor.search.stored_features import StoredFeatures, pack_features, unpack_features

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Writing:
    """How features are written.

    Attributes:
        on_bad_image: "error", or "skip": broken images have no row and are listed in the record.
        half: as float16, which rounds them to 3 decimal digits.
    """

    on_bad_image: str = "error"
    half: bool = False


def extract_to_file(
    extractor: Extractor, images: Images, output: Path, writing: Writing | None = None
) -> None:
    """Write features to a file, or continue a file whose extraction was interrupted or killed.

    With the same batch size, device and number of threads, the continued file is bit-identical to
    that of an uninterrupted extraction.

    Args:
        extractor: of the model.
        images: to extract features from.
        output: `.npz`, or `.npy` with sidecars `.csv` and `.json`, which can be memory-mapped; see
            `processor.search.feature_file`.
        writing: default: float32, broken images raise.

    Raises:
        BadImageError: names a broken image; the rows before it are kept.
        ValueError: the file holds features of other images or another model, has another suffix, or
            no image could be read.
    """
    writing = writing or Writing()
    growing = growing_file(output)
    record = describe_extraction(extractor, images, writing)
    if growing != output and output.is_file():
        check_same_record(output, read_record(output), record)
        logger.info("%s is already complete: %d images", output, len(images.samples))
        return
    with FeatureFile(growing, extractor.dim, record) as file:
        done = file.images_done
        if done:
            logger.info("%s: continuing after %d of %d images", output, done, len(images.samples))
        _append(extractor, images, file, done, writing)
        _report(file.bad_images, file.rows)
        rows = file.rows
    if growing != output:
        pack_features(growing, output)
    logger.info("%s: %d features of %d dimensions", output, rows, extractor.dim)


def extract_shard(
    extractor: Extractor,
    images: Images,
    shard: Shard,
    folder: Path,
    writing: Writing | None = None,
    *,
    own: range | None = None,
) -> None:
    """Write a shard of the features, or continue one; a complete shard is left as it is.

    Args:
        extractor: of the model.
        images: of all shards, or of this one if each has a list of its own.
        shard: which one to write.
        folder: of all shards.
        writing: as for `extract_to_file`.
        own: places of the shard's images among `images`; None = all. They must begin and end where
            a batch of all images does, so that the features are bit-identical to those of one
            process.

    Raises:
        BadImageError, ValueError: as `extract_to_file`; the folder is of another division.
    """
    writing = writing or Writing()
    check_count(folder, shard.count)
    file_of_shard = shard.file(folder)
    part = images if own is None else images.part(own)
    record = {
        **describe_extraction(extractor, images, writing),
        "images": len(part.samples),
        "shard": {"number": shard.number, "of": shard.count, **_places(images, own)},
    }
    if is_done(file_of_shard):
        check_same_record(file_of_shard, read_record(file_of_shard), record)
        logger.info("%s is already complete: %d images", file_of_shard, len(part.samples))
        return
    with FeatureFile(file_of_shard, extractor.dim, record) as file:
        if not file.images_done:
            file.append(torch.empty(0, extractor.dim), [])  # a shard may stay empty
        _append(extractor, part, file, file.images_done, writing)
        _log_bad_images(file.bad_images)
        rows = file.rows
    mark_done(file_of_shard)
    logger.info("%s: %d features of %d dimensions", file_of_shard, rows, extractor.dim)


def _places(images: Images, own: range | None) -> dict[str, int]:
    """Where a shard's images lie among those of all shards; empty if it has a list of its own."""
    if own is None:
        return {}
    return {"first": own.start, "end": own.stop, "of_images": len(images.samples)}


def batches_of(shard: Shard, num_images: int, batch_size: int) -> range:
    """The places of a shard's images, cut where a batch of all images begins."""
    batches = shard.share(-(-num_images // batch_size))
    return range(batches.start * batch_size, min(batches.stop * batch_size, num_images))


def append_to_file(
    extractor: Extractor, images: Images, output: Path, writing: Writing | None = None
) -> None:
    """Add the images that a file of features lacks; without the file, write it.

    Raises:
        BadImageError, ValueError: as `extract_to_file`.
    """
    writing = writing or Writing()
    growing = growing_file(output)
    if not output.is_file():
        extract_to_file(extractor, images, output, writing)
        return
    found = read_record(output)
    record = describe_extraction(extractor, images, writing)
    kept = {"images": found["images"], "images_sha256": found["images_sha256"]}
    check_same_record(output, found, {**record, **kept})
    if growing != output and not (growing.is_file() and read_record(growing).get("appending")):
        unpack_features(output, growing)
    found = read_record(growing)
    if not found.get("appending"):
        check_complete(output, found)
    kept = {"images": found["images"], "images_sha256": found["images_sha256"]}
    with FeatureFile(growing, extractor.dim, {**record, **kept}) as file:
        stored = read_samples(growing)
        known = {sample.path: sample.identity for sample in stored}
        renamed = sum(known.get(x.path, x.identity) != x.identity for x in images.samples)
        if renamed:
            logger.warning("%s: %d images keep their earlier names", output, renamed)
        new = images.without(known)
        new = replace(new, samples=number_by_names(new.samples, stored))
        digest = sha256((found["images_sha256"] + new.digest()).encode()).hexdigest()
        file.expect([sample.path for sample in new.samples], digest)
        _append(extractor, new, file, 0, writing)
        _report(file.bad_images, file.rows)
        file.finish()
        rows = file.rows
    if growing != output:
        pack_features(growing, output)
    logger.info("%s: %d images added, %d rows", output, rows - len(stored), rows)


def _append(
    extractor: Extractor, images: Images, file: FeatureFile, done: int, writing: Writing
) -> None:
    """Append the features of the images from number `done` on."""
    for table in _tables(extractor, images, done, writing.on_bad_image):
        samples = [images.samples[done + i] for i in table.indices.tolist()]
        file.append(table.features, samples, table.bad_images)


def extract_in_memory(
    extractor: Extractor, images: Images, *, on_bad_image: str = "error"
) -> StoredFeatures:
    """The features that `extract_to_file` would write; raises like it."""
    features = np.empty((len(images.samples), extractor.dim), dtype=np.float32)
    samples: list[Sample] = []
    bad_images: list[str] = []
    for table in _tables(extractor, images, 0, on_bad_image):
        bad_images += table.bad_images
        if len(table.indices):
            features[len(samples) : len(samples) + len(table.indices)] = table.features
            samples += [images.samples[i] for i in table.indices.tolist()]
    _report(bad_images, len(samples))
    return StoredFeatures(features[: len(samples)], samples, describe_extraction(extractor, images))


def _tables(
    extractor: Extractor, images: Images, done: int, on_bad_image: str
) -> Iterator[FeatureTable]:
    """Features of the images from number `done` on; indices count from there."""
    return extractor.stream(
        [sample.path for sample in images.samples[done:]],
        images.camids[done:],
        images.viewids[done:],
        on_bad_image=on_bad_image,
    )


def _log_bad_images(bad_images: Sequence[str]) -> None:
    for path in bad_images:
        logger.warning("skipped the broken image %s", path)


def _report(bad_images: Sequence[str], num_rows: int) -> None:
    """Log the broken images; raise ValueError if there was no other."""
    _log_bad_images(bad_images)
    if not num_rows:
        raise ValueError("no image could be read")


def describe_extraction(
    extractor: Extractor, images: Images, writing: Writing | None = None
) -> Record:
    """The record of the features, which identifies the images and the model."""
    half = {"dtype": "float16"} if writing is not None and writing.half else {}
    return {
        "format": FORMAT,
        "checkpoint": extractor.checkpoint,
        "model": extractor.description,
        "normalized": extractor.normalize,
        "autocast": str(extractor.precision.dtype or "off"),
        "dim": extractor.dim,
        "images": len(images.samples),
        "images_sha256": images.digest(),
        **half,
    }

"""Extraction of features into a file; an interrupted extraction can be resumed."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch

from datasets.image_lists import ImageList
from datasets.records import Sample
from processor.checkpoints.cameras import cameras_of
from processor.extractor import Extractor
from processor.features import FeatureTable, ids_of_model
from processor.search.feature_file import (
    FORMAT,
    FeatureFile,
    Record,
    StoredFeatures,
    check_same_record,
    pack_features,
    read_record,
)

logger = logging.getLogger(__name__)

SUFFIXES = (".npz", ".npy")


@dataclass(frozen=True, slots=True)
class Images:
    """N images to extract features from.

    Attributes:
        samples: with pids and camids of their data sets; -1 = unknown.
        camids: (N,) rows of the model's camera table; -1 = unknown to the model.
        viewids: (N,) viewpoints, likewise.
    """

    samples: list[Sample]
    camids: list[int]
    viewids: list[int]


def join_lists(extractor: Extractor, lists: Sequence[ImageList]) -> Images:
    """Join lists of images; cameras are known in the data sets that the model was trained on.

    Raises:
        ConfigError: see `cameras_of`.
    """
    samples: list[Sample] = []
    camids: list[int] = []
    viewids: list[int] = []
    for images in lists:
        cameras = None
        if images.dataset:
            cameras = cameras_of(extractor.cfg, images.dataset, extractor.cameras)
        own = (
            torch.tensor([sample.camid for sample in images.samples]),
            torch.tensor([sample.viewid for sample in images.samples]),
        )
        known = ids_of_model(*own, cameras)
        samples += images.samples
        camids += known[0].tolist()
        viewids += known[1].tolist()
    return Images(samples, camids, viewids)


def extract_to_file(
    extractor: Extractor, images: Images, output: Path, *, on_bad_image: str = "error"
) -> None:
    """Write features to a file, or continue a file whose extraction was interrupted or killed.

    With the same batch size, device and number of threads, the continued file is bit-identical to
    that of an uninterrupted extraction.

    Args:
        extractor: of the model.
        images: to extract features from.
        output: `.npz`, or `.npy` with sidecars `.csv` and `.json`, which can be memory-mapped; see
            `processor.search.feature_file`.
        on_bad_image: "error", or "skip": broken images have no row and are listed in the record.

    Raises:
        BadImageError: names a broken image; the rows before it are kept.
        ValueError: the file holds features of other images or another model, has another suffix, or
            no image could be read.
    """
    if output.suffix not in SUFFIXES:
        raise ValueError(f"--output {output}: the name must end in {' or '.join(SUFFIXES)}")
    record = _describe(extractor, images)
    growing = output
    if output.suffix == ".npz":
        growing = output.with_name(f".{output.stem}.partial.npy")
        if output.is_file():
            check_same_record(output, read_record(output), record)
            logger.info("%s is already complete: %d images", output, len(images.samples))
            return
    with FeatureFile(growing, extractor.dim, record) as file:
        done = file.images_done
        if done:
            logger.info("%s: continuing after %d of %d images", output, done, len(images.samples))
        for table in _tables(extractor, images, done, on_bad_image):
            samples = [images.samples[done + i] for i in table.indices.tolist()]
            file.append(table.features, samples, table.bad_images)
        rows, bad_images = file.rows, file.bad_images
    _report_bad_images(bad_images, rows)
    if growing != output:
        pack_features(growing, output)
    logger.info("%s: %d features of %d dimensions", output, rows, extractor.dim)


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
    _report_bad_images(bad_images, len(samples))
    return StoredFeatures(
        features[: len(samples)],
        [sample.path for sample in samples],
        np.array([sample.pid for sample in samples]),
        np.array([sample.camid for sample in samples]),
        _describe(extractor, images),
    )


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


def _report_bad_images(bad_images: Sequence[str], num_rows: int) -> None:
    for path in bad_images:
        logger.warning("skipped the broken image %s", path)
    if not num_rows:
        raise ValueError("no image could be read")


def _describe(extractor: Extractor, images: Images) -> Record:
    """The record of the features, which identifies the images and the model."""
    columns = zip(images.samples, images.camids, images.viewids, strict=True)
    lines = sha256()
    for sample, camid, viewid in columns:
        line = f"{sample.path}\t{sample.pid}\t{sample.camid}\t{camid}\t{viewid}\n"
        lines.update(line.encode(errors="surrogateescape"))
    return {
        "format": FORMAT,
        "checkpoint": extractor.checkpoint,
        "model": extractor.description,
        "normalized": extractor.normalize,
        "autocast": str(extractor.precision.dtype or "off"),
        "dim": extractor.dim,
        "images": len(images.samples),
        "images_sha256": lines.hexdigest(),
    }

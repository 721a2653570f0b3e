"""Extraction of features into a file; an interrupted extraction can be resumed."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch

from config.text import encode
from datasets.image_lists import ImageList
from datasets.records import UNKNOWN, Sample
from processor.checkpoints.cameras import cameras_of
from processor.extractor import Extractor
from processor.features import FeatureTable, ids_of_model
from processor.search.feature_file import (
    FeatureFile,
    StoredFeatures,
    pack_features,
    read_record,
    read_samples,
    unpack_features,
)
from processor.search.feature_record import (
    FORMAT,
    Record,
    check_complete,
    check_same_record,
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

    def without(self, paths: Collection[str]) -> Images:
        """The images of other paths."""
        places = [i for i, sample in enumerate(self.samples) if sample.path not in paths]
        columns = ([column[i] for i in places] for column in (self.camids, self.viewids))
        return Images([self.samples[i] for i in places], *columns)


def join_lists(extractor: Extractor, lists: Sequence[ImageList]) -> Images:
    """Join lists of images; cameras are known in the data sets that the model was trained on.

    A name stands for the same identity or camera in all lists, under one number.

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
    return Images(number_by_names(samples), camids, viewids)


def number_by_names(samples: Sequence[Sample], earlier: Sequence[Sample] = ()) -> list[Sample]:
    """The images, with one number for every name of an identity or camera.

    A name of `earlier` images keeps its number there; another one keeps its own, unless that is
    taken.
    """
    pids = _number({x.identity: x.pid for x in earlier}, [(x.identity, x.pid) for x in samples])
    camids = _number({x.camera: x.camid for x in earlier}, [(x.camera, x.camid) for x in samples])
    return [
        replace(
            sample,
            pid=pids[sample.identity],
            camid=camids[sample.camera],
            pid_name=sample.identity,
            camid_name=sample.camera,
        )
        for sample in samples
    ]


def _number(taken: dict[str, int], wanted: Sequence[tuple[str, int]]) -> dict[str, int]:
    """Name -> number: the one taken, else the wanted one if free, else the next free one."""
    taken = {"": UNKNOWN, **taken}
    numbers = set(taken.values())
    for name, number in wanted:
        if name not in taken:
            taken[name] = number if number not in numbers else max(numbers) + 1
            numbers.add(taken[name])
    return taken


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
    growing = _growing(output)
    record = _describe(extractor, images)
    if growing != output and output.is_file():
        check_same_record(output, read_record(output), record)
        logger.info("%s is already complete: %d images", output, len(images.samples))
        return
    with FeatureFile(growing, extractor.dim, record) as file:
        done = file.images_done
        if done:
            logger.info("%s: continuing after %d of %d images", output, done, len(images.samples))
        _append(extractor, images, file, done, on_bad_image)
        rows = file.rows
    if growing != output:
        pack_features(growing, output)
    logger.info("%s: %d features of %d dimensions", output, rows, extractor.dim)


def append_to_file(
    extractor: Extractor, images: Images, output: Path, *, on_bad_image: str = "error"
) -> None:
    """Add the images that a file of features lacks; without the file, write it.

    Raises:
        BadImageError, ValueError: as `extract_to_file`.
    """
    growing = _growing(output)
    if not output.is_file():
        extract_to_file(extractor, images, output, on_bad_image=on_bad_image)
        return
    found = read_record(output)
    record = _describe(extractor, images)
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
        digest = sha256((found["images_sha256"] + _digest(new)).encode()).hexdigest()
        file.expect([sample.path for sample in new.samples], digest)
        _append(extractor, new, file, 0, on_bad_image)
        file.finish()
        rows = file.rows
    if growing != output:
        pack_features(growing, output)
    logger.info("%s: %d images added, %d rows", output, rows - len(stored), rows)


def _growing(output: Path) -> Path:
    """The file written row by row: of a .npz, a hidden .npy next to it; raises ValueError."""
    if output.suffix not in SUFFIXES:
        raise ValueError(f"--output {output}: the name must end in {' or '.join(SUFFIXES)}")
    if output.suffix == ".npy":
        return output
    return output.with_name(f".{output.stem}.partial.npy")


def _append(
    extractor: Extractor, images: Images, file: FeatureFile, done: int, on_bad_image: str
) -> None:
    """Append the features of the images from number `done` on."""
    for table in _tables(extractor, images, done, on_bad_image):
        samples = [images.samples[done + i] for i in table.indices.tolist()]
        file.append(table.features, samples, table.bad_images)
    _report_bad_images(file.bad_images, file.rows)


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
    return StoredFeatures(features[: len(samples)], samples, _describe(extractor, images))


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
    return {
        "format": FORMAT,
        "checkpoint": extractor.checkpoint,
        "model": extractor.description,
        "normalized": extractor.normalize,
        "autocast": str(extractor.precision.dtype or "off"),
        "dim": extractor.dim,
        "images": len(images.samples),
        "images_sha256": _digest(images),
    }


def _digest(images: Images) -> str:
    """A hash that identifies the images and what the model knows of them."""
    columns = zip(images.samples, images.camids, images.viewids, strict=True)
    lines = sha256()
    for sample, camid, viewid in columns:
        line = f"{sample.path}\t{sample.identity}\t{sample.camera}\t{camid}\t{viewid}\n"
        lines.update(encode(line))
    return lines.hexdigest()

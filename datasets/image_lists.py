"""Lists of images as users name them: files, folders, CSV files and splits of data sets."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from datasets.own.entries import SPLITS, is_nobody, number_names
from datasets.own.table import is_table, read_csv_entries
from datasets.readers.image_files import TABLE_SUFFIXES, describe_unread, find_files
from datasets.readers.tar_files import find_tars, is_readable, is_tar, read_tar
from datasets.records import UNKNOWN, Sample
from datasets.registry import BENCHMARKS, read_dataset

logger = logging.getLogger(__name__)

OTHER_TABLES = (".txt", ".dat", ".tab", ".json", ".jsonl", ".xls", ".xlsx", ".ods", ".parquet")
LARGEST = 2**63  # of a number that a file of features holds


@dataclass(frozen=True, slots=True)
class ImageList:
    """Images from one place.

    Attributes:
        samples: the images; unknown pids, camids and viewids are -1.
        dataset: the data set they are a split of, as `read_dataset` takes it; empty = none, and any
            camids are unrelated to those that a model was trained on.
    """

    samples: list[Sample]
    dataset: str = ""


def read_image_lists(
    places: Sequence[str], root: str | Path, *, by_folder: bool = False
) -> list[ImageList]:
    """The images of all places, in order; repeated images are taken once.

    Args:
        places: each an image file; a folder, read recursively in the order of paths; a CSV with the
            column `path` and optionally `pid`, `camid` and `viewid`; a tar file, see `read_tar`; or
            a split of a data set such as `market1501:query` or `my_shop:train` (of split 0 if there
            are several).
        root: the data root.
        by_folder: in a folder, images are of the identity that their subfolder is named after.

    Raises:
        FileNotFoundError: a place does not exist or holds no image.
        ValueError: a split without images, or as `read_dataset` and `read_csv_entries`.
    """
    lists = [_read_list(place, root, by_folder=by_folder) for place in places]
    seen: set[str] = set()
    distinct = []
    for images in lists:
        samples = []
        for sample in images.samples:
            place = os.path.abspath(sample.path)  # noqa: PTH100 - without ".."
            if place not in seen:
                seen.add(place)
                samples.append(sample)
        distinct.append(replace(images, samples=samples))
    repeated = sum(len(images.samples) for images in lists) - len(seen)
    if repeated:
        logger.warning("%d repeated images are taken once", repeated)
    return distinct


def _read_list(place: str, root: str | Path, *, by_folder: bool) -> ImageList:
    path = Path(place)
    if is_table(path):
        return ImageList(_read_csv(path))
    if is_tar(path):
        return ImageList(_read_tar(path))
    if path.is_file() or is_readable(place):
        if path.suffix.lower() in OTHER_TABLES:
            raise ValueError(f"{path}: a table has to end in {' or '.join(TABLE_SUFFIXES)}")
        return ImageList([_unknown(path)])
    if path.is_dir():
        samples = _read_folder(path)
        return ImageList(_name_by_folder(samples, path) if by_folder else samples)
    name, _, split = place.rpartition(":")
    if split not in SPLITS:
        split_missing = f"; name the split, e.g. {place}:query" if place in BENCHMARKS else ""
        raise FileNotFoundError(
            f"{place!r} is not a file, folder, CSV file or split of a data set such as "
            f"market1501:query{split_missing}"
        )
    samples = getattr(read_dataset(name, root), split)
    if not samples:
        raise ValueError(f"data set {name} has no {split} images")
    return ImageList(samples, name)


def _read_folder(folder: Path) -> list[Sample]:
    found = find_files(folder)
    unread = describe_unread(found.unread)
    if not found.images and find_tars(folder):
        raise FileNotFoundError(f"no images in {folder}, but tar files; name them: {folder}/*.tar")
    if not found.images:
        raise FileNotFoundError(
            f"no images in {folder} and its subfolders{unread and f'; {unread}'}"
        )
    if unread:
        logger.warning("%s: %s", folder, unread)
    return [_unknown(image) for image in found.images]


def _read_tar(path: Path) -> list[Sample]:
    found = read_tar(path)
    unread = describe_unread(found.unread)
    if not found.samples:
        raise FileNotFoundError(f"no images in {path}{unread and f'; {unread}'}")
    if unread:
        logger.warning("%s: %s", path, unread)
    return found.samples


def _name_by_folder(samples: Sequence[Sample], folder: Path) -> list[Sample]:
    """The images, those in subfolders with the name of the subfolder as their identity."""
    parts = [Path(sample.path).relative_to(folder).parts for sample in samples]
    names = [part[0] if len(part) > 1 and not is_nobody(part[0]) else "" for part in parts]
    pids = {"": UNKNOWN, **number_names(name for name in names if name)}
    return [
        replace(sample, pid=pids[name], pid_name=name)
        for sample, name in zip(samples, names, strict=True)
    ]


def _unknown(path: Path) -> Sample:
    return Sample(str(path), UNKNOWN, UNKNOWN, UNKNOWN)


def _read_csv(file: Path) -> list[Sample]:
    """The rows in order; identities and cameras keep their names."""
    entries = [
        replace(entry, identity="") if is_nobody(entry.identity) else entry
        for entry in read_csv_entries(file, required=("path",)).values()
    ]
    pids = _number(file, "identities", {entry.identity for entry in entries} - {""})
    camids = _number(file, "cameras", {entry.camera for entry in entries} - {""})
    return [
        Sample(
            str(entry.path),
            pids.get(entry.identity, UNKNOWN),
            camids.get(entry.camera, UNKNOWN),
            entry.viewid,
            entry.identity,
            entry.camera,
        )
        for entry in entries
    ]


def _number(file: Path, what: str, names: set[str]) -> dict[str, int]:
    """Numbers for names: whole numbers keep their values, unless two of them are equal."""
    if all(name.isdecimal() for name in names):
        numbers = {name: int(name) for name in names}
        if len(set(numbers.values())) == len(names) and all(x < LARGEST for x in numbers.values()):
            return numbers
    logger.info("%s: %d %s numbered in the order of their names", file, len(names), what)
    return number_names(names)

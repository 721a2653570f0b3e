"""Lists of images as users name them: files, folders, CSV files and splits of data sets."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from datasets.own.csv_file import read_rows
from datasets.own.entries import SPLITS, number_identities
from datasets.readers.layout import is_image
from datasets.records import Sample
from datasets.registry import BENCHMARKS, read_dataset

logger = logging.getLogger(__name__)

UNKNOWN = -1


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


def read_image_lists(places: Sequence[str], root: str | Path) -> list[ImageList]:
    """The images of all places, in order; repeated images are taken once.

    Args:
        places: each an image file; a folder, read recursively in the order of paths; a CSV with the
            column `path` and optionally `pid`, `camid` and `viewid`; or a split of a data set such
            as `market1501:query` or `my_shop:train` (of split 0 if there are several).
        root: the data root.

    Raises:
        FileNotFoundError: a place does not exist or holds no image.
        ValueError: a split without images, or as `read_dataset` and `read_rows`.
    """
    lists = [_read_list(place, root) for place in places]
    seen: set[str] = set()
    distinct = []
    for images in lists:
        samples = []
        for sample in images.samples:
            if sample.path not in seen:
                seen.add(sample.path)
                samples.append(sample)
        distinct.append(replace(images, samples=samples))
    repeated = sum(len(images.samples) for images in lists) - len(seen)
    if repeated:
        logger.warning("%d repeated images are taken once", repeated)
    return distinct


def _read_list(place: str, root: str | Path) -> ImageList:
    path = Path(place)
    if path.suffix.lower() == ".csv" and path.is_file():
        return ImageList(_read_csv(path))
    if path.is_file():
        return ImageList([_unknown(path)])
    if path.is_dir():
        images = sorted(x for x in path.rglob("*") if is_image(x) and x.is_file())
        if not images:
            raise FileNotFoundError(f"no images in {path} and its subfolders")
        return ImageList([_unknown(image) for image in images])
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


def _unknown(path: Path) -> Sample:
    return Sample(str(path), UNKNOWN, UNKNOWN, UNKNOWN)


def _read_csv(file: Path) -> list[Sample]:
    """The rows in order; identities other than whole numbers are numbered by name."""
    entries = list(read_rows(file, required=("path",)).values())
    names = {entry.identity for entry in entries if entry.identity}
    if all(name.isdecimal() for name in names):
        pids = {name: int(name) for name in names}
    else:
        pids = number_identities(names)
        logger.info("%s: %d identities numbered in the order of their names", file, len(names))
    return [
        Sample(
            str(entry.path),
            pids.get(entry.identity, UNKNOWN),
            UNKNOWN if entry.camera is None else entry.camera,
            entry.viewid,
        )
        for entry in entries
    ]

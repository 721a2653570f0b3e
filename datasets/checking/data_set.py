"""All checks of one data set, and its numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from datasets.checking.faults import WARNING, Fault
from datasets.checking.identities import (
    find_camera_faults,
    find_identity_faults,
    find_parts_missing,
    find_query_faults,
)
from datasets.checking.pictures import (
    Facts,
    find_broken_files,
    find_equal_files,
    find_size_faults,
)
from datasets.counts import check_counts
from datasets.fingerprint import fingerprint
from datasets.records import DataSplits


@dataclass(frozen=True, slots=True)
class Use:
    """What a data set is to be used for.

    Attributes:
        trains: it is trained on.
        tests: it is evaluated on.
        image_size: (height, width) of the model's input in pixels.
        ignore_same_camera: the junk rule applies to data sets that have one.
        skip_bad_images: broken files are left out instead of ending the run.
    """

    trains: bool
    tests: bool
    image_size: tuple[int, int]
    ignore_same_camera: bool
    skip_bad_images: bool


def check_data_set(splits: Sequence[DataSplits], facts: Facts, use: Use) -> list[Fault]:
    """The faults of a data set, those of several of its splits once.

    Args:
        splits: one per split of its protocol.
        facts: of all its files.
        use: what it is to be used for.
    """
    return list(dict.fromkeys(fault for split in splits for fault in _check(split, facts, use)))


def _check(split: DataSplits, facts: Facts, use: Use) -> Iterator[Fault]:
    yield from find_parts_missing(split, trains=use.trains, tests=use.tests)
    yield from find_broken_files(split, facts, skip=use.skip_bad_images)
    yield from find_identity_faults(split)
    yield from find_camera_faults(split)
    yield from find_query_faults(split, ignore_same_camera=use.ignore_same_camera)
    yield from find_equal_files(split, facts, ignore_same_camera=use.ignore_same_camera)
    yield from find_size_faults(split, facts, use.image_size)
    for remark in check_counts(split):
        what = remark.removeprefix(f"{split.name}: ")
        remedy = "compare the copy with the publisher's; results name the difference"
        yield Fault(WARNING, "other counts than published", split.name, what, (), remedy)


def summarize(splits: DataSplits, facts: Facts) -> dict[str, Any]:
    """The fingerprint of a data set, and sizes as [smallest, median, largest].

    `images_per_identity` is of the training images; `height` and `width` are pixels of all images
    that can be decoded; each is empty where there is none.
    """
    images = {image.path for image in (*splits.train, *splits.query, *splits.gallery)}
    known = [facts[path] for path in images if not facts[path].error]
    return {
        **fingerprint(splits),
        "ignore_same_camera": splits.ignore_same_camera,
        "images_per_identity": _span(Counter(image.pid for image in splits.train).values()),
        "height": _span(fact.height for fact in known),
        "width": _span(fact.width for fact in known),
    }


def _span(values: Any) -> list[float]:
    numbers = list(values)
    return [min(numbers), median(numbers), max(numbers)] if numbers else []

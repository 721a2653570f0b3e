"""Join data sets for training: contiguous labels, cameras that never merge, a domain per source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from datasets.records import DataSplits, Sample

_FAMILIES = {
    "occ_duke": "dukemtmc",
    "cuhk03_labeled": "cuhk03",
    "cuhk03_classic": "cuhk03",
    "cuhk03_classic_labeled": "cuhk03",
    "VehicleID_1600": "VehicleID",
    "VehicleID_2400": "VehicleID",
    "veri_wild_5000": "veri_wild",
    "veri_wild_10000": "veri_wild",
}
_ONE_TRAINING_SPLIT = frozenset({"VehicleID", "veri_wild"})
"""Families whose data sets differ in the size of the test set alone."""


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """The training images of one or several sources.

    Attributes:
        samples: images; camids are offset per source, pids are the sources' own.
        labels: 0..num_classes-1 per image, ascending by (source, pid).
        domains: index of the source per image.
        num_classes: identities over all sources.
        num_cameras: rows of a camera table: per source, its largest training camid + 1.
        num_views: rows of a viewpoint table: the largest viewid of any source + 1.
        names: the sources.
        camera_offsets: per source, what was added to its camids.
        use_all: the sources' query and gallery images are among the samples.
    """

    samples: list[Sample]
    labels: list[int]
    domains: list[int]
    num_classes: int
    num_cameras: int
    num_views: int
    names: tuple[str, ...]
    camera_offsets: tuple[int, ...]
    use_all: bool = False

    @property
    def camids(self) -> list[int]:
        """Camera of every image, offset per source."""
        return [sample.camid for sample in self.samples]

    def camera_ranges(self) -> dict[str, range]:
        """Per source, the rows of its cameras in a table of all cameras."""
        stops = [*self.camera_offsets[1:], self.num_cameras]
        pairs = zip(self.camera_offsets, stops, strict=True)
        return dict(zip(self.names, (range(*pair) for pair in pairs), strict=True))


def join_sources(sources: Sequence[DataSplits], *, use_all: bool = False) -> TrainingSet:
    """The sources' training images as one set.

    Camera and viewpoint numbers are not compacted, so with one source the ids of its test split are
    rows of the same table.

    Args:
        sources: data sets; each is a domain.
        use_all: train on their query and gallery images as well.

    Raises:
        ValueError: no source, or one without training images.
    """
    if not sources:
        raise ValueError("DATASETS.NAMES: no data set to train on")
    images_of = [training_images(source, use_all=use_all) for source in sources]
    empty = [source.name for source, own in zip(sources, images_of, strict=True) if not own]
    if empty:
        raise ValueError(f"DATASETS.NAMES: no training images in {', '.join(empty)}")
    names = tuple(source.name for source in sources)
    if len(set(names)) < len(names):
        raise ValueError(f"DATASETS.NAMES: two data sets of one name among {', '.join(names)}")
    if len(set(map(family, names))) < len(names):
        raise ValueError(f"DATASETS.NAMES: two data sets of the same people: {', '.join(names)}")
    samples: list[Sample] = []
    labels: list[int] = []
    domains: list[int] = []
    offsets: list[int] = []
    num_classes = num_cameras = 0
    for domain, images in enumerate(images_of):
        pids = sorted({sample.pid for sample in images})
        label_of = {pid: label for label, pid in enumerate(pids, start=num_classes)}
        samples += [replace(sample, camid=sample.camid + num_cameras) for sample in images]
        labels += [label_of[sample.pid] for sample in images]
        domains += [domain] * len(images)
        offsets.append(num_cameras)
        num_classes += len(pids)
        num_cameras += 1 + max(sample.camid for sample in images)
    num_views = 1 + max(0, max(sample.viewid for sample in samples))
    return TrainingSet(
        samples,
        labels,
        domains,
        num_classes,
        num_cameras,
        num_views,
        names,
        tuple(offsets),
        use_all,
    )


def family(name: str) -> str:
    """The data set whose people are shown: another flavour or protocol of it has its own name."""
    return _FAMILIES.get(name, name)


def share_training_split(name: str) -> bool:
    """Whether all data sets of the family train on the same people and test on others."""
    return family(name) in _ONE_TRAINING_SPLIT


def training_images(source: DataSplits, *, use_all: bool = False) -> list[Sample]:
    """A source's images to train on: its training split, or its query and gallery as well.

    Of the test images, those of no single person (the background, unrelated passers-by) are left
    out, and one that is in two splits counts once.
    """
    if not use_all:
        return source.train
    images = {sample.path: sample for sample in source.train}
    for sample in number_test_images(source):
        if sample.pid not in source.distractors:
            images.setdefault(sample.path, sample)
    return list(images.values())


def number_test_images(source: DataSplits) -> list[Sample]:
    """Query and gallery under numbers that mean the same person as in the training split.

    Where a data set numbers test identities apart, they come after the training identities.
    """
    test = [*source.query, *source.gallery]
    if not source.separate_test_ids:
        return test
    first = 1 + max((sample.pid for sample in source.train), default=-1)
    return [
        sample if sample.pid in source.distractors else replace(sample, pid=sample.pid + first)
        for sample in test
    ]

"""Join data sets for training: contiguous labels, disjoint cameras, one domain per source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from datasets.records import DataSplits, Sample
from datasets.registry import people


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """The training images of one or more sources.

    Attributes:
        samples: images; camids are offset per source, pids are those of the source.
        labels: 0..num_classes-1 per image, in the order of (source, pid).
        domains: index of the source, per image.
        num_classes: identities over all sources.
        num_cameras: rows of a camera table: the sum of the sources' largest camid + 1.
        num_views: rows of a viewpoint table: the largest viewid + 1.
        names: of the sources.
        camera_offsets: added to the camids, per source.
        use_all: query and gallery images are among the samples.
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
        """Camera per image, offset per source."""
        return [sample.camid for sample in self.samples]

    @property
    def identity_names(self) -> list[str]:
        """The name of the identity behind every label."""
        pairs = zip(self.labels, self.samples, strict=True)
        return _by_number({label: sample.identity for label, sample in pairs}, self.num_classes)

    @property
    def camera_names(self) -> list[str]:
        """The name of the camera behind every row of a camera table; empty where there is none."""
        return _by_number({x.camid: x.camera for x in self.samples}, self.num_cameras)

    def camera_ranges(self) -> dict[str, range]:
        """Rows of a camera table, per source."""
        stops = [*self.camera_offsets[1:], self.num_cameras]
        pairs = zip(self.camera_offsets, stops, strict=True)
        return dict(zip(self.names, (range(*pair) for pair in pairs), strict=True))


def _by_number(names: dict[int, str], count: int) -> list[str]:
    return [names.get(number, "") for number in range(count)]


def join_sources(sources: Sequence[DataSplits], *, use_all: bool = False) -> TrainingSet:
    """Join the training images of all sources.

    Camera and viewpoint numbers are not compacted: with one source, its test ids index the same
    tables.

    Args:
        sources: data sets, each one domain.
        use_all: train on query and gallery images too.

    Raises:
        ValueError: no source, one without training images, or two of one name or of the same
            people.
    """
    if not sources:
        raise ValueError("DATASETS.NAMES: no data set to train on")
    images_of = [training_images(source, use_all=use_all) for source in sources]
    empty = [source.name for source, own in zip(sources, images_of, strict=True) if not own]
    if empty:
        raise ValueError(f"DATASETS.NAMES: no training images in {', '.join(empty)}")
    names = tuple(source.name for source in sources)
    if len(set(names)) < len(names):
        raise ValueError(f"DATASETS.NAMES: two data sets have one name: {', '.join(names)}")
    if len(set(map(people, names))) < len(names):
        raise ValueError(
            f"DATASETS.NAMES: two data sets show the same people: {', '.join(names)}; a person "
            "would have two labels, so leave one of them out"
        )
    samples: list[Sample] = []
    labels: list[int] = []
    domains: list[int] = []
    offsets: list[int] = []
    num_classes = num_cameras = 0
    for domain, images in enumerate(images_of):
        _check_numbers(names[domain], images)
        pids = sorted({sample.pid for sample in images})
        label_of = {pid: label for label, pid in enumerate(pids, start=num_classes)}
        samples += [
            replace(sample, camid=sample.camid + num_cameras, camid_name=sample.camera)
            for sample in images
        ]
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


def _check_numbers(name: str, images: Sequence[Sample]) -> None:
    """Raise ValueError for training images of an unknown identity or camera."""
    for sample in images:
        for what, number in (("pid", sample.pid), ("camid", sample.camid)):
            if number < 0:
                raise ValueError(
                    f"data set {name}: {what} of the training image {sample.path} is {number}; "
                    "number identities and cameras from 0"
                )


def training_images(source: DataSplits, *, use_all: bool = False) -> list[Sample]:
    """The images of a source to train on: its training split, with `use_all` its test images too.

    Distractors among the test images are left out; an image in two splits counts once.
    """
    if not use_all:
        return source.train
    images = {sample.path: sample for sample in source.train}
    for sample in number_test_images(source):
        if sample.pid not in source.distractors:
            images.setdefault(sample.path, sample)
    return list(images.values())


def number_test_images(source: DataSplits) -> list[Sample]:
    """Query and gallery images whose pids are comparable with those of the training split.

    If a data set numbers test identities separately, their pids follow the training pids.
    """
    test = [*source.query, *source.gallery]
    if not source.separate_test_ids:
        return test
    first = 1 + max((sample.pid for sample in source.train), default=-1)
    return [
        sample
        if sample.pid in source.distractors
        else replace(sample, pid=sample.pid + first, pid_name=sample.identity)
        for sample in test
    ]

"""Join data sets for training: contiguous labels, cameras that never merge, a domain per source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from datasets.records import DataSplits, Sample


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
    """

    samples: list[Sample]
    labels: list[int]
    domains: list[int]
    num_classes: int
    num_cameras: int
    num_views: int
    names: tuple[str, ...]
    camera_offsets: tuple[int, ...]

    @property
    def camids(self) -> list[int]:
        """Camera of every image, offset per source."""
        return [sample.camid for sample in self.samples]

    def camera_ranges(self) -> dict[str, range]:
        """Per source, the rows of its cameras in a table of all cameras."""
        stops = [*self.camera_offsets[1:], self.num_cameras]
        pairs = zip(self.camera_offsets, stops, strict=True)
        return dict(zip(self.names, (range(*pair) for pair in pairs), strict=True))


def join_sources(sources: Sequence[DataSplits]) -> TrainingSet:
    """The sources' training splits as one.

    Camera and viewpoint numbers are not compacted, so with one source the ids of its test split are
    rows of the same table.

    Raises:
        ValueError: no source, or one without training images.
    """
    if not sources:
        raise ValueError("DATASETS.NAMES: no data set to train on")
    empty = [source.name for source in sources if not source.train]
    if empty:
        raise ValueError(f"DATASETS.NAMES: no training images in {', '.join(empty)}")
    names = tuple(source.name for source in sources)
    if len(set(names)) < len(names):
        raise ValueError(f"DATASETS.NAMES: two data sets of one name among {', '.join(names)}")
    samples: list[Sample] = []
    labels: list[int] = []
    domains: list[int] = []
    offsets: list[int] = []
    num_classes = num_cameras = 0
    for domain, source in enumerate(sources):
        pids = sorted({sample.pid for sample in source.train})
        label_of = {pid: label for label, pid in enumerate(pids, start=num_classes)}
        samples += [replace(sample, camid=sample.camid + num_cameras) for sample in source.train]
        labels += [label_of[sample.pid] for sample in source.train]
        domains += [domain] * len(source.train)
        offsets.append(num_cameras)
        num_classes += len(pids)
        num_cameras += 1 + max(sample.camid for sample in source.train)
    num_views = 1 + max(0, max(sample.viewid for sample in samples))
    return TrainingSet(
        samples, labels, domains, num_classes, num_cameras, num_views, names, tuple(offsets)
    )

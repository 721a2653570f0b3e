"""Faults in who is where: identities, cameras, queries and their matches."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from datasets.checks.report import ERROR, WARNING, Fault, name_identity, name_image
from datasets.records import DataSplits, Sample
from datasets.sources import number_test_images


def find_parts_missing(splits: DataSplits, *, trains: bool, tests: bool) -> Iterator[Fault]:
    """Empty splits; an error for what the data set is used for.

    Args:
        splits: the data set.
        trains: it is to be trained on.
        tests: it is to be evaluated on.
    """
    for needed, part, remedy in (
        (trains, "train", "leave it out of DATASETS.NAMES"),
        (tests, "query", "leave it out of DATASETS.TARGETS, or name other targets there"),
        (tests, "gallery", "leave it out of DATASETS.TARGETS, or name other targets there"),
    ):
        if not getattr(splits, part):
            severity = ERROR if needed else WARNING
            yield Fault(severity, "empty split", splits.name, f"no {part} images", (), remedy)


def find_identity_faults(splits: DataSplits) -> Iterator[Fault]:
    """Identities with too few images, alone in their split, or on both sides of the split."""
    training = _by_pid(splits.train)
    lone = [images[0] for images in training.values() if len(images) == 1]
    if lone:
        yield Fault(
            WARNING,
            "identity with one image",
            splits.name,
            f"{len(lone):,} of {len(training):,} training identities have one image",
            tuple(map(name_identity, lone)),
            "add images, or leave these identities out: a batch would repeat the image",
        )
    for severity, part, images in (
        (ERROR, "training", splits.train),
        (WARNING, "gallery", splits.gallery),
    ):
        if len({image.pid for image in images}) == 1:
            yield Fault(
                severity,
                "single identity",
                splits.name,
                f"all {len(images):,} {part} images are of one identity",
                (name_identity(images[0]),),
                "there is nobody to tell it apart from: add identities",
            )
    both = [
        image
        for image in {x.pid: x for x in number_test_images(splits)}.values()
        if image.pid in training and image.pid not in splits.distractors
    ]
    if both:
        yield Fault(
            WARNING,
            "identity in training and test",
            splits.name,
            f"{len(both):,} test identities are among the training identities",
            tuple(map(name_identity, both)),
            "results will be too good: give each identity to one side",
        )


def find_camera_faults(splits: DataSplits) -> Iterator[Fault]:
    """All images from one camera."""
    images = [*splits.train, *splits.query, *splits.gallery]
    if images and len({image.camid for image in images}) == 1:
        yield Fault(
            WARNING,
            "one camera",
            splits.name,
            f"all {len(images):,} images are of camera {images[0].camid}",
            (),
            "give cameras: file names such as 0007_c2_001.jpg or the CSV column camid; without "
            "them, matches of the same camera make results too good",
        )


def find_query_faults(splits: DataSplits, *, ignore_same_camera: bool) -> Iterator[Fault]:
    """Queries without a match in the gallery; an error when it is all of them.

    Args:
        splits: the data set.
        ignore_same_camera: TEST.IGNORE_SAME_CAMERA; counts for data sets that have the rule.
    """
    rule = ignore_same_camera and splits.ignore_same_camera
    unmatched = queries_without_match(splits, ignore_same_camera=rule)
    if not unmatched:
        return
    what = f"{len(unmatched):,} of {len(splits.query):,} queries have no match in the gallery"
    remedy = "put another image of each into the gallery, or leave these queries out"
    if rule:
        alone = len(queries_without_match(splits, ignore_same_camera=False))
        what += f" from another camera, {alone:,} of them none at all"
        remedy += "; TEST.IGNORE_SAME_CAMERA False counts matches from the same camera"
    severity = ERROR if len(unmatched) == len(splits.query) else WARNING
    where = tuple(map(name_image, unmatched))
    yield Fault(severity, "query without match", splits.name, what, where, remedy)


def queries_without_match(splits: DataSplits, *, ignore_same_camera: bool) -> list[Sample]:
    """Queries with no gallery image of their identity or, by the rule, from their camera only."""
    cameras = defaultdict(set)
    for image in splits.gallery:
        cameras[image.pid].add(image.camid)
    return [
        query
        for query in splits.query
        if not cameras[query.pid] - ({query.camid} if ignore_same_camera else set())
    ]


def _by_pid(images: Sequence[Sample]) -> dict[int, list[Sample]]:
    groups = defaultdict(list)
    for image in images:
        groups[image.pid].append(image)
    return dict(groups)

"""Identity and camera faults: splits, identities, cameras, queries and their matches."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from datasets.checks.report import ERROR, WARNING, Fault, name_identity, name_image
from datasets.records import DataSplits, Sample
from datasets.sources import number_test_images


def require_test_images(splits: DataSplits) -> None:
    """Refuse a data set without query and gallery images as a target; raises ValueError."""
    if not splits.query and not splits.gallery:
        raise ValueError(
            f"data set {splits.name} is for training only: it has no query or gallery images. Name "
            "data sets to evaluate on in DATASETS.TARGETS; if you have no labelled images, a drawn "
            "one such as synthetic_street will do"
        )


def find_empty_splits(splits: DataSplits, *, trains: bool, tests: bool) -> Iterator[Fault]:
    """Empty splits; an error if a run uses them.

    Args:
        splits: the data set.
        trains: it is trained on.
        tests: it is evaluated on.
    """
    for needed, part, remedy in (
        (trains, "train", "leave it out of DATASETS.NAMES"),
        (tests, "query", "leave it out of DATASETS.TARGETS, or name other targets there"),
        (tests, "gallery", "leave it out of DATASETS.TARGETS, or name other targets there"),
    ):
        if not getattr(splits, part):
            severity = ERROR if needed else WARNING
            yield Fault(severity, "empty split", splits.name, f"no {part} images", (), remedy)


def find_identity_faults(splits: DataSplits, *, labelled: bool = True) -> Iterator[Fault]:
    """Identities with one image, alone in their split, or in both training and test.

    Args:
        splits: the data set.
        labelled: the identities of training images are used; DSGL ignores them.
    """
    train = splits.train if labelled else []
    training = _by_pid(train)
    lone = [images[0] for images in training.values() if len(images) == 1]
    if lone:
        yield Fault(
            WARNING,
            "identity with one image",
            splits.name,
            f"{len(lone):,} of {len(training):,} training identities have one image",
            tuple(map(name_identity, lone)),
            "add images or leave these identities out: a batch repeats the image",
        )
    for severity, part, images in (
        (ERROR, "training", train),
        (WARNING, "gallery", splits.gallery),
    ):
        if len({image.pid for image in images}) == 1:
            yield Fault(
                severity,
                "single identity",
                splits.name,
                f"all {len(images):,} {part} images are of one identity",
                (name_identity(images[0]),),
                "add identities: there is nothing to tell this one apart from; images without "
                "labels are for train_dsgl.py (DSGL.ENABLED True)",
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
            "scores will be too high: put each identity on one side",
        )


def find_camera_faults(splits: DataSplits) -> Iterator[Fault]:
    """All images from one camera."""
    images = [*splits.train, *splits.query, *splits.gallery]
    if images and len({image.camid for image in images}) == 1:
        yield Fault(
            WARNING,
            "one camera",
            splits.name,
            f"all {len(images):,} images are from camera {images[0].camera or 'unknown'}",
            (),
            "name cameras in file names such as 0007_c2_001.jpg or in the CSV column camid; "
            "matches from the same camera make scores too high",
        )


def find_query_faults(splits: DataSplits, *, ignore_same_camera: bool) -> Iterator[Fault]:
    """Queries without a match in the gallery; an error if no query has one.

    Args:
        splits: the data set.
        ignore_same_camera: TEST.IGNORE_SAME_CAMERA; for data sets with the junk rule.
    """
    rule = ignore_same_camera and splits.ignore_same_camera
    unmatched = queries_without_match(splits, ignore_same_camera=rule)
    if not unmatched:
        return
    what = f"{len(unmatched):,} of {len(splits.query):,} queries have no match in the gallery"
    remedy = "put another image of each into the gallery or leave these queries out"
    if rule:
        alone = len(queries_without_match(splits, ignore_same_camera=False))
        what += f" from another camera, {alone:,} have none at all"
        remedy += "; TEST.IGNORE_SAME_CAMERA False accepts matches from the same camera"
    severity = ERROR if len(unmatched) == len(splits.query) else WARNING
    where = tuple(map(name_image, unmatched))
    yield Fault(severity, "query without match", splits.name, what, where, remedy)


def queries_without_match(splits: DataSplits, *, ignore_same_camera: bool) -> list[Sample]:
    """Queries without a gallery image of their identity or, by the rule, from another camera."""
    found = defaultdict(set)
    for image in splits.gallery:
        found[image.pid].add((image.camid, image.path))
    return [
        query
        for query in splits.query
        if not any(
            path != query.path and not (ignore_same_camera and camid == query.camid)
            for camid, path in found[query.pid]
        )
    ]


def _by_pid(images: Sequence[Sample]) -> dict[int, list[Sample]]:
    groups = defaultdict(list)
    for image in images:
        groups[image.pid].append(image)
    return dict(groups)

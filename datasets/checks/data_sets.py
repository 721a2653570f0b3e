"""All checks of a data set and of a training set, and the summary of a data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from datasets.checks.fingerprint import TEST, TRAINING, describe_data, fingerprint
from datasets.checks.identities import (
    find_camera_faults,
    find_empty_splits,
    find_identity_faults,
    find_query_faults,
)
from datasets.checks.images import (
    Facts,
    find_broken_files,
    find_equal_images,
    find_size_faults,
    find_unread_files,
)
from datasets.checks.leakage import LeakageError, check_leakage
from datasets.checks.report import ERROR, WARNING, Fault
from datasets.readers.published_sizes import check_sizes
from datasets.records import DataSplits
from datasets.registry import BENCHMARKS
from datasets.samplers.planner import check_batch_shape
from datasets.sources import join_sources


@dataclass(frozen=True, slots=True)
class Use:
    """How a run uses a data set.

    Attributes:
        trains: it is trained on.
        tests: it is evaluated on.
        image_size: (height, width) of the model's input in pixels.
        ignore_same_camera: data sets with the junk rule are evaluated with it.
        skip_bad_images: broken files are left out instead of stopping the run.
        labelled: the identities of its training images are used.
    """

    trains: bool
    tests: bool
    image_size: tuple[int, int]
    ignore_same_camera: bool
    skip_bad_images: bool
    labelled: bool = True


def check_data_set(splits: Sequence[DataSplits], facts: Facts, use: Use) -> list[Fault]:
    """The distinct faults of all splits of a data set.

    Args:
        splits: one per split of the protocol.
        facts: of all files.
        use: how a run uses the data set.
    """
    return list(dict.fromkeys(fault for split in splits for fault in _check(split, facts, use)))


def _check(split: DataSplits, facts: Facts, use: Use) -> Iterator[Fault]:
    yield from find_empty_splits(split, trains=use.trains, tests=use.tests)
    yield from find_broken_files(split, facts, skip=use.skip_bad_images)
    yield from find_unread_files(split)
    yield from find_identity_faults(split, labelled=use.labelled)
    yield from find_camera_faults(split)
    yield from find_query_faults(split, ignore_same_camera=use.ignore_same_camera)
    yield from find_equal_images(split, facts, ignore_same_camera=use.ignore_same_camera)
    yield from find_size_faults(split, facts, use.image_size)
    for remark in check_sizes(split, BENCHMARKS):
        what = remark.removeprefix(f"{split.name}: ")
        remedy = "check that the copy is complete; results name the difference"
        yield Fault(WARNING, "other counts than published", split.name, what, (), remedy)


def summarize(splits: Sequence[DataSplits], facts: Facts) -> dict[str, Any]:
    """Description of a data set, with sizes as [smallest, median, largest].

    All values but `sha256`, the fingerprint of the test images, describe the first split:
    `images_per_identity` its training images, `height` and `width` (pixels) all its images that
    can be decoded; each is empty without such images.
    """
    first = splits[0]
    images = {image.path for image in (*first.train, *first.query, *first.gallery)}
    known = [facts[path] for path in images if not facts[path].error]
    return {
        **describe_data(splits, TEST),
        "train_sha256": fingerprint([first], TRAINING),
        "ignore_same_camera": first.ignore_same_camera,
        "images_per_identity": _span(Counter(image.pid for image in first.train).values()),
        "height": _span(fact.height for fact in known),
        "width": _span(fact.width for fact in known),
    }


def _span(values: Any) -> list[float]:
    numbers = list(values)
    return [min(numbers), median(numbers), max(numbers)] if numbers else []


def find_training_faults(
    sources: Sequence[DataSplits],
    batch_shape: tuple[int, int] | None,
    *,
    use_all: bool,
    camera_table: bool,
) -> Iterator[Fault]:
    """Sources that cannot be joined, cannot fill a batch, or have too few cameras.

    Args:
        sources: the data sets trained on.
        batch_shape: P and K; None = shuffled batches.
        use_all: DATASETS.USE_ALL.
        camera_table: MODEL.SIE_CAMERA.
    """
    names = ", ".join(source.name for source in sources)
    try:
        data = join_sources(sources, use_all=use_all)
    except ValueError as error:
        yield Fault(ERROR, "training set", names, str(error), (), "change DATASETS.NAMES")
        return
    if camera_table and data.num_cameras < 2:
        what = "MODEL.SIE_CAMERA needs several cameras, all training images are from one"
        yield Fault(ERROR, "one camera", names, what, (), "leave MODEL.SIE_CAMERA out")
    try:
        if batch_shape is not None:
            check_batch_shape(data.num_classes, *batch_shape)
    except ValueError as error:
        what, _, remedy = str(error).partition(": ")
        yield Fault(ERROR, "batch cannot be filled", names, what, (), remedy)


def find_leaks(
    sources: Sequence[DataSplits], targets: Sequence[Sequence[DataSplits]], *, use_all: bool
) -> Iterator[Fault]:
    """Targets that a run refuses, because their test images or identities are trained on.

    Args:
        sources: the data sets trained on.
        targets: the splits of every data set evaluated on.
        use_all: DATASETS.USE_ALL.
    """
    for splits in targets:
        try:
            check_leakage(sources, [splits], use_all=use_all)
        except LeakageError as error:
            what, _, remedy = str(error).removeprefix(f"target {splits[0].name}: ").rpartition("; ")
            yield Fault(ERROR, "test data trained on", splits[0].name, what, (), remedy)

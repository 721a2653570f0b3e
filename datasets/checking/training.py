"""Faults of the data sets of one run together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from datasets.checking.faults import ERROR, Fault
from datasets.leakage import LeakageError, check_leakage
from datasets.records import DataSplits
from datasets.samplers.chunks import check_batch_shape
from datasets.sources import join_sources


def find_training_faults(
    sources: Sequence[DataSplits],
    batch_shape: tuple[int, int] | None,
    *,
    use_all: bool,
    camera_table: bool,
) -> Iterator[Fault]:
    """Sources that cannot be joined, cannot fill a batch or have no cameras to tell apart.

    Args:
        sources: the data sets trained on.
        batch_shape: P and K; None = batches are shuffled images.
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
        what = "MODEL.SIE_CAMERA learns cameras apart, the training images are of one"
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
    """Targets whose test images or identities are trained on, so that a run refuses them.

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

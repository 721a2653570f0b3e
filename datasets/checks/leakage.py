"""Find test images and test identities that a model is trained on."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Sequence

from datasets.checks.equal_files import FileMemory, equal_files
from datasets.records import DataSplits
from datasets.registry import family, people, trains_apart_from_tests
from datasets.sources import number_test_images, training_images

logger = logging.getLogger(__name__)

SHOWN = 3


class LeakageError(ValueError):
    """Test images or test identities of a target are among the training images."""


def check_leakage(
    sources: Sequence[DataSplits], targets: Iterable[Sequence[DataSplits]], *, use_all: bool
) -> dict[str, str]:
    """Refuse targets whose test identities or test images are trained on.

    Identities are compared within a family of data sets; families that show the same people under
    other numbers are refused together; images are always compared, by path and by content.
    Images that a source has both in its training and in its own test split are reported only,
    because it was published that way and all its results include them. `use_all` refuses these too.

    Args:
        sources: the data sets trained on.
        targets: the splits of every data set to evaluate on.
        use_all: query and gallery images of the sources are trained on too.

    Returns:
        Target -> the note that its own training split holds some of its test images.

    Raises:
        LeakageError: names the target, the number of leaks, examples and the remedy.
    """
    leave_out = "leave the data set out of DATASETS.TARGETS or of DATASETS.NAMES"
    remedy = leave_out + (", or set DATASETS.USE_ALL False" if use_all else "")
    memory = FileMemory()
    notes = {}
    for splits in targets:
        name = splits[0].name
        for source in sources:
            if people(source.name) == people(name) and family(source.name) != family(name):
                raise LeakageError(
                    f"target {name}: it shows people of {source.name}, which is trained on, under "
                    f"other numbers, so that they cannot be told apart; {leave_out}"
                )
            pids = shared_identities(source, splits, use_all=use_all)
            if pids:
                names = {x.pid: x.identity for split in splits for x in number_test_images(split)}
                raise LeakageError(
                    f"target {name}: {len(pids):,} of its test identities are trained on with "
                    f"{source.name} ({_show([names[pid] for pid in sorted(pids)], ', ')}); {remedy}"
                )
        refused, published = _shared_files(sources, splits, memory, use_all=use_all)
        if refused:
            raise LeakageError(
                f"target {name}: {len(refused):,} of its test images are among the training images "
                f"({_show_twins(refused)}); {remedy}"
            )
        if published:
            notes[name] = f"{len(published):,} of its test images are in its own training split"
            logger.warning("target %s: %s (%s)", name, notes[name], _show_twins(published))
    return notes


def check_names(sources: Iterable[str], targets: Iterable[str]) -> None:
    """Refuse targets that a model was trained on with all their images.

    Raises:
        LeakageError: names the target and the source.
    """
    trained = {people(name): name for name in sources}
    for target in targets:
        if people(target) in trained:
            raise LeakageError(
                f"target {target}: the checkpoint was trained on all images of "
                f"{trained[people(target)]}, including its test images; leave it out of "
                "DATASETS.TARGETS"
            )


def note_same_people(
    sources: Iterable[str], targets: Iterable[Sequence[DataSplits]]
) -> dict[str, str]:
    """Find targets with test identities that a checkpoint may have been trained on.

    A checkpoint holds only the names of its sources, which are trained on with their first split.
    The training images of another flavour or protocol are unknown here, so its target may be clean.

    Args:
        sources: names of the data sets the model was trained on.
        targets: the splits of every data set to evaluate on.

    Returns:
        Target -> the note; each has been logged as a warning.
    """
    trained = {people(name): name for name in sources}
    notes = {}
    for splits in targets:
        name = splits[0].name
        source = trained.get(people(name))
        if source == name and shared_identities(splits[0], splits, use_all=False):
            notes[name] = "trained on its first split, which has test identities of other splits"
        elif source not in (None, name) and not trains_apart_from_tests(name):
            notes[name] = f"trained on {source}, which shows the same identities"
        if name in notes:
            logger.warning(
                "target %s: the checkpoint was %s; its scores may be too high", name, notes[name]
            )
    return notes


def note_same_names(
    names: Collection[str], targets: Iterable[Sequence[DataSplits]]
) -> dict[str, str]:
    """Find own data with test identities that have names a checkpoint was trained on.

    Args:
        names: of the training identities; those of numbers alone are not compared.
        targets: the splits of every data set to evaluate on.

    Returns:
        Target -> the note; each has been logged as a warning.
    """
    trained = {name for name in names if not name.isdecimal()}
    notes = {}
    for splits in targets:
        same = {x.pid_name for split in splits for x in split.query} & trained
        if same:
            name = splits[0].name
            some = _show(sorted(same), ", ")
            notes[name] = f"{len(same):,} test identities have names that were trained on ({some})"
            logger.warning("target %s: %s; its scores may be too high", name, notes[name])
    return notes


def shared_identities(
    source: DataSplits, splits: Sequence[DataSplits], *, use_all: bool
) -> set[int]:
    """Identities that a source trains on and a target of the same family tests.

    The source's own split counts only with `use_all`: a split that shares identities was made so,
    and the reader of own data has warned of them.
    """
    if family(source.name) != family(splits[0].name):
        return set()
    trained = {image.pid for image in training_images(source, use_all=use_all)}
    tested = {
        image.pid
        for split in splits
        if use_all or not _is_own_split(source, split)
        for image in number_test_images(split)
        if image.pid not in split.distractors
    }
    return trained & tested


def _is_own_split(source: DataSplits, split: DataSplits) -> bool:
    """Whether `split` has the training images of the source.

    All trials that draw queries and galleries from the same test images do.
    """
    return split.name == source.name and split.train == source.train


def _shared_files(
    sources: Sequence[DataSplits],
    splits: Sequence[DataSplits],
    memory: FileMemory,
    *,
    use_all: bool,
) -> tuple[dict[str, str], dict[str, str]]:
    """Test file -> equal training file: leaks, and copies in the published splits."""
    refused: dict[str, str] = {}
    published: dict[str, str] = {}
    for source in sources:
        trained = [image.path for image in training_images(source, use_all=use_all)]
        own: list[DataSplits] = []
        others: list[DataSplits] = []
        for split in splits:
            (own if not use_all and _is_own_split(source, split) else others).append(split)
        refused |= equal_files(trained, _test_files(others), memory)
        published |= equal_files(trained, _test_files(own), memory)
    return refused, published


def _test_files(splits: Iterable[DataSplits]) -> list[str]:
    return sorted({image.path for split in splits for image in (*split.query, *split.gallery)})


def _show(texts: Sequence[str], separator: str) -> str:
    """The first texts, and whether there are more."""
    return separator.join([*texts[:SHOWN], *(["..."] if len(texts) > SHOWN else [])])


def _show_twins(twins: dict[str, str]) -> str:
    return _show([f"{test} = {train}" for test, train in twins.items()], "; ")

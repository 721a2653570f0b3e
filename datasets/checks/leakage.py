"""Find test images and test identities that a model was trained on."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Generic, TypeVar

from tqdm import tqdm

from datasets.records import DataSplits
from datasets.sources import (
    family,
    number_test_images,
    share_training_split,
    training_images,
)

logger = logging.getLogger(__name__)

FILES_AT_ONCE = 16
PROBE_BYTES = 4096
SHOWN = 3

Key = TypeVar("Key", int, bytes)


class LeakageError(ValueError):
    """Test images or test identities of a target are among the training images."""


def check_leakage(
    sources: Sequence[DataSplits], targets: Iterable[Sequence[DataSplits]], *, use_all: bool
) -> dict[str, str]:
    """Refuse targets that show what the sources train on: the same person or the same picture.

    Persons are compared where source and target are of one data set, pictures always, by path and
    by content. Pictures that a source has in its training split and in its own test split are
    reported only: so it was published, and so all its results were made. With `use_all` they are
    refused as well.

    Args:
        sources: the data sets trained on.
        targets: the splits of every data set to evaluate on.
        use_all: the sources' query and gallery images are trained on as well.

    Returns:
        Target -> the note that its own training split holds some of its test images.

    Raises:
        LeakageError: names the target, how much of it was trained on, some of it, and the remedy.
    """
    remedy = "leave the data set out of DATASETS.TARGETS or of DATASETS.NAMES"
    remedy += ", or set DATASETS.USE_ALL False" if use_all else ""
    files = _FileFacts()
    notes = {}
    for splits in targets:
        name = splits[0].name
        for source in sources:
            pids = shared_identities(source, splits, use_all=use_all)
            if pids:
                raise LeakageError(
                    f"target {name}: {len(pids):,} of its test identities are trained on with "
                    f"{source.name} ({_show([*map(str, sorted(pids))], ', ')}); {remedy}"
                )
        refused, published = _shared_files(sources, splits, files, use_all=use_all)
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
    """Refuse targets of data sets that a model was trained on with all their images.

    Raises:
        LeakageError: names them.
    """
    trained = {family(name): name for name in sources}
    for target in targets:
        if family(target) in trained:
            raise LeakageError(
                f"target {target}: the checkpoint was trained on all images of "
                f"{trained[family(target)]}, its test images among them; leave it out of "
                "DATASETS.TARGETS"
            )


def note_same_people(
    sources: Iterable[str], targets: Iterable[Sequence[DataSplits]]
) -> dict[str, str]:
    """Say of which targets a model may have been trained on people who are searched for.

    The sources, of which a checkpoint knows the names only, were trained on with the training
    images of their first split. What another flavour or protocol of a data set trains on is not
    known here, so that such a target may be clean.

    Args:
        sources: names of the data sets the model was trained on.
        targets: the splits of every data set to evaluate on.

    Returns:
        Target -> the note; each has been logged as a warning.
    """
    trained = {family(name): name for name in sources}
    notes = {}
    for splits in targets:
        name = splits[0].name
        source = trained.get(family(name))
        if source == name and shared_identities(splits[0], splits, use_all=False):
            notes[name] = "trained on its first split, people of the other splits among them"
        elif source not in (None, name) and not share_training_split(name):
            notes[name] = f"trained on {source} of the same people"
        if name in notes:
            logger.warning(
                "target %s: the checkpoint was %s; its results may be too good", name, notes[name]
            )
    return notes


def shared_identities(
    source: DataSplits, splits: Sequence[DataSplits], *, use_all: bool
) -> set[int]:
    """Identities that a source trains on and a target of the same data set searches for.

    The source's own split counts only with `use_all`: whoever divided the data set meant it so, and
    the reader of own data has warned of people on both sides.
    """
    if family(source.name) != family(splits[0].name):
        return set()
    trained = {image.pid for image in training_images(source, use_all=use_all)}
    searched = {
        image.pid
        for split in splits
        if use_all or not _is_own_split(source, split)
        for image in number_test_images(split)
        if image.pid not in split.distractors
    }
    return trained & searched


def _is_own_split(source: DataSplits, split: DataSplits) -> bool:
    """Whether a model of the source is what the split is made for: its training images are these.

    Trials that draw queries and galleries from the same test images are all the source's own.
    """
    return split.name == source.name and split.train == source.train


def _shared_files(
    sources: Sequence[DataSplits], splits: Sequence[DataSplits], files: _FileFacts, *, use_all: bool
) -> tuple[dict[str, str], dict[str, str]]:
    """Test file -> equal training file: where that is a leak, and where it was published so."""
    refused: dict[str, str] = {}
    published: dict[str, str] = {}
    for source in sources:
        trained = [image.path for image in training_images(source, use_all=use_all)]
        own: list[DataSplits] = []
        others: list[DataSplits] = []
        for split in splits:
            (own if not use_all and _is_own_split(source, split) else others).append(split)
        refused |= equal_files(trained, _test_files(others), files)
        published |= equal_files(trained, _test_files(own), files)
    return refused, published


def _test_files(splits: Iterable[DataSplits]) -> list[str]:
    return sorted({image.path for split in splits for image in (*split.query, *split.gallery)})


def _show(texts: Sequence[str], separator: str) -> str:
    """The first of them, and whether there are more."""
    return separator.join([*texts[:SHOWN], *(["..."] if len(texts) > SHOWN else [])])


def _show_twins(twins: dict[str, str]) -> str:
    return _show([f"{test} = {train}" for test, train in twins.items()], "; ")


class _Memory(Generic[Key]):
    """What is read of files; each is read once, several at a time, as disks answer slowly."""

    def __init__(self, read: Callable[[str], Key | None]) -> None:
        self._read: Callable[[str], Key | None] = read
        self._known: dict[str, Key | None] = {}

    def __call__(self, paths: Sequence[str]) -> list[Key | None]:
        """Per file what was read; None = nothing to compare."""
        new = [path for path in dict.fromkeys(paths) if path not in self._known]
        with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
            found = pool.map(self._read, new, chunksize=64)
            bar = tqdm(found, "comparing files", len(new), leave=False, disable=None)
            self._known.update(zip(new, bar, strict=True))
        return [self._known[path] for path in paths]


class _FileFacts:
    """Sizes and hashes of files, and the hashes of 4 KB from their middle."""

    def __init__(self) -> None:
        self.sizes = _Memory(_size)
        self.middles = _Memory(_hash_middle)
        self.contents = _Memory(_hash_all)


def equal_files(
    training: Sequence[str], tests: Sequence[str], files: _FileFacts | None = None
) -> dict[str, str]:
    """Test file -> a training file with the same path or the same bytes.

    Of the files of equal size 4 KB from the middle are compared, and of those that agree all bytes.
    Files that are empty or cannot be read are passed over: decoding will name them.

    Args:
        training: paths.
        tests: paths.
        files: remembers sizes and hashes from one call to the next.
    """
    if not tests:
        return {}
    files = _FileFacts() if files is None else files
    same_path = set(training) & set(tests)
    twins = {path: path for path in tests if path in same_path}
    left = [path for path in tests if path not in same_path]
    others, left = _agreeing(training, left, files.sizes)
    others, left = _agreeing(others, left, files.middles)
    of_content = dict(zip(files.contents(others), others, strict=True))
    for path, content in zip(left, files.contents(left), strict=True):
        if content is not None and content in of_content:
            twins[path] = of_content[content]
    return twins


def _agreeing(
    training: Sequence[str], tests: Sequence[str], read: _Memory[Key]
) -> tuple[list[str], list[str]]:
    """The files whose size or hash occurs on both sides."""
    by_key: defaultdict[Key, list[str]] = defaultdict(list)
    for path, key in zip(training, read(training), strict=True):
        if key is not None:
            by_key[key].append(path)
    wanted = [
        (path, key)
        for path, key in zip(tests, read(tests), strict=True)
        if key is not None and key in by_key
    ]
    common = {key for _, key in wanted}
    return [p for key in common for p in by_key[key]], [path for path, _ in wanted]


def _size(path: str) -> int | None:
    """None = nothing to read."""
    try:
        return Path(path).stat().st_size or None
    except OSError:
        return None


def _hash_middle(path: str) -> bytes | None:
    try:
        with Path(path).open("rb", buffering=0) as file:
            size = file.seek(0, 2)
            file.seek(max(0, (size - PROBE_BYTES) // 2))
            return sha256(file.read(PROBE_BYTES)).digest()
    except OSError:
        return None


def _hash_all(path: str) -> bytes | None:
    try:
        return sha256(Path(path).read_bytes()).digest()
    except OSError:
        return None

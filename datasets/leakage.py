"""Find test images and test identities that a model was trained on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from datasets.records import DataSplits
from datasets.sources import family, number_test_images, training_images

FILES_AT_ONCE = 16
PROBE_BYTES = 4096
SHOWN = 3

Key = TypeVar("Key")


class LeakageError(ValueError):
    """Test images or test identities of a target are among the training images."""


def check_leakage(
    sources: Sequence[DataSplits], targets: Iterable[Sequence[DataSplits]], *, use_all: bool
) -> None:
    """Refuse targets that show what the sources train on: the same person or the same picture.

    Persons are compared where source and target are of one data set, pictures always, by path and
    by content.

    Args:
        sources: the data sets trained on.
        targets: the splits of every data set to evaluate on.
        use_all: the sources' query and gallery images are trained on as well.

    Raises:
        LeakageError: names the target, how much of it was trained on, some of it, and the remedy.
    """
    remedy = "leave the data set out of DATASETS.TARGETS or of DATASETS.NAMES"
    remedy += ", or set DATASETS.USE_ALL False" if use_all else ""
    trained = [image.path for x in sources for image in training_images(x, use_all=use_all)]
    digests = _Digests()
    for splits in targets:
        name = splits[0].name
        for source in sources:
            pids = shared_identities(source, splits, use_all=use_all)
            if pids:
                shown = ", ".join(map(str, sorted(pids)[:SHOWN]))
                raise LeakageError(
                    f"target {name}: {len(pids):,} of its test identities are trained on with "
                    f"{source.name} ({shown}{', ...' if len(pids) > SHOWN else ''}); {remedy}"
                )
        tests = {image.path for split in splits for image in (*split.query, *split.gallery)}
        twins = equal_files(trained, sorted(tests), digests)
        if twins:
            shown = "; ".join(f"{test} = {train}" for test, train in list(twins.items())[:SHOWN])
            raise LeakageError(
                f"target {name}: {len(twins):,} of its test images are among the training images "
                f"({shown}{'; ...' if len(twins) > SHOWN else ''}); {remedy}"
            )


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
        if use_all or split != source
        for image in number_test_images(split)
        if image.pid not in split.distractors
    }
    return trained & searched


class _Digests:
    """Hashes of files, each computed once."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, bool], bytes | None] = {}

    def __call__(self, paths: Sequence[str], *, whole: bool) -> list[bytes | None]:
        """Per file the hash of all of it, or of 4 KB from its middle; None = cannot be read."""
        new = [path for path in dict.fromkeys(paths) if (path, whole) not in self._known]
        found = _map(_hash_all if whole else _hash_middle, new)
        self._known.update({(path, whole): digest for path, digest in zip(new, found, strict=True)})
        return [self._known[path, whole] for path in paths]


def equal_files(
    training: Sequence[str], tests: Sequence[str], digests: _Digests | None = None
) -> dict[str, str]:
    """Test file -> a training file with the same path or the same bytes.

    Of the files of equal size 4 KB from the middle are compared, and of those that agree all bytes.
    Files that are empty or cannot be read are passed over: decoding will name them.

    Args:
        training: paths.
        tests: paths.
        digests: remembers hashes from one call to the next.
    """
    digests = _Digests() if digests is None else digests
    same_path = set(training) & set(tests)
    twins = {path: path for path in tests if path in same_path}
    left = [path for path in tests if path not in same_path]
    others, left = _agreeing(training, left, lambda paths: _map(_size, paths))
    others, left = _agreeing(others, left, lambda paths: digests(paths, whole=False))
    of_content = dict(zip(digests(others, whole=True), others, strict=True))
    for path, content in zip(left, digests(left, whole=True), strict=True):
        if content is not None and content in of_content:
            twins[path] = of_content[content]
    return twins


def _agreeing(
    training: Sequence[str],
    tests: Sequence[str],
    keys: Callable[[Sequence[str]], Sequence[Key | None]],
) -> tuple[list[str], list[str]]:
    """The files whose key occurs on both sides."""
    by_key: defaultdict[Key, list[str]] = defaultdict(list)
    for path, key in zip(training, keys(training), strict=True):
        if key is not None:
            by_key[key].append(path)
    wanted = [
        (path, key)
        for path, key in zip(tests, keys(tests), strict=True)
        if key is not None and key in by_key
    ]
    common = {key for _, key in wanted}
    return [p for key in common for p in by_key[key]], [path for path, _ in wanted]


def _map(read: Callable[[str], Key | None], paths: Sequence[str]) -> list[Key | None]:
    """`read` of every path, several at once: disks and network drives answer slowly."""
    with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
        results = pool.map(read, paths, chunksize=64)
        return list(tqdm(results, "comparing files", len(paths), leave=False, disable=None))


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

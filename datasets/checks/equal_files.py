"""Find files with the same content among many, reading as little as possible."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Generic, TypeVar

from tqdm.auto import tqdm

FILES_AT_ONCE = 16
PROBE_BYTES = 4096

Key = TypeVar("Key", int, bytes)


class _Memory(Generic[Key]):
    """A property of files, read once per file and in parallel, because disks have latency."""

    def __init__(self, read: Callable[[str], Key | None]) -> None:
        self._read: Callable[[str], Key | None] = read
        self._known: dict[str, Key | None] = {}

    def __call__(self, paths: Sequence[str]) -> list[Key | None]:
        """The property of every file; None = nothing to compare."""
        new = [path for path in dict.fromkeys(paths) if path not in self._known]
        with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
            found = pool.map(self._read, new, chunksize=64)
            bar = tqdm(found, "comparing files", len(new), leave=False, disable=None)
            self._known.update(zip(new, bar, strict=True))
        return [self._known[path] for path in paths]


class FileMemory:
    """Sizes of files, hashes of 4 KB from their middle, and hashes of all bytes."""

    def __init__(self) -> None:
        self.sizes = _Memory(_size)
        self.middles = _Memory(_hash_middle)
        self.contents = _Memory(_hash_all)


def equal_files(
    training: Sequence[str], tests: Sequence[str], memory: FileMemory | None = None
) -> dict[str, str]:
    """Test file -> a training file with the same path or the same bytes.

    Files of equal size are compared by 4 KB from the middle, and if those agree, by all bytes.
    Files that are empty or cannot be read are skipped: decoding reports them.

    Args:
        training: paths.
        tests: paths.
        memory: keeps sizes and hashes for later calls.
    """
    if not tests:
        return {}
    memory = FileMemory() if memory is None else memory
    same_path = set(training) & set(tests)
    twins = {path: path for path in tests if path in same_path}
    left = [path for path in tests if path not in same_path]
    others, left = _agreeing(training, left, memory.sizes)
    others, left = _agreeing(others, left, memory.middles)
    of_content = dict(zip(memory.contents(others), others, strict=True))
    for path, content in zip(left, memory.contents(left), strict=True):
        if content is not None and content in of_content:
            twins[path] = of_content[content]
    return twins


def _agreeing(
    training: Sequence[str], tests: Sequence[str], read: _Memory[Key]
) -> tuple[list[str], list[str]]:
    """The files whose property occurs on both sides."""
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

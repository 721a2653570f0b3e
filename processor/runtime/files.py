"""Atomic file writes: readers see the old file or the new one, never a part."""

from __future__ import annotations

import json
import math
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from config.text import ERRORS
from processor.runtime.lock import NO_LINKS, open_exclusively, try_lock

_LEFTOVER = ".partial"  # first part of a temporary name
_CLEANED: set[Path] = set()  # folders that this process has looked through


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder, which replaces `path` at the end.

    Missing folders are made.
    File and folder are flushed to the disk, so that even after a power failure `path` is the old
    file or the new one. The temporary name is new and has the ending of `path`. After an error the
    temporary file is removed and `path` is unchanged; that of a killed process is removed by the
    next process that writes into the folder.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.parent not in _CLEANED:  # a folder may hold a million images
        _remove_leftovers(path.parent)
        _CLEANED.add(path.parent)
    temporary, descriptor = _create(path)
    try:
        yield temporary
        with temporary.open("r+b") as file:  # Windows flushes only what it may write
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        if error.errno and error.filename in (None, str(temporary)):  # a full disk names no file
            error.filename = str(path)
        raise
    finally:
        if descriptor is not None:
            os.close(descriptor)
        temporary.unlink(missing_ok=True)


@contextmanager
def errors_named(path: Path) -> Iterator[None]:
    """Give errors of the system the file that an open one was written to; they name none."""
    try:
        yield
    except OSError as error:
        if error.errno and error.filename is None:
            error.filename = str(path)
        raise


def _create(path: Path) -> tuple[Path, int | None]:
    """A new file next to `path`, and the descriptor that marks it as being written."""
    while True:
        temporary = path.with_name(f"{_LEFTOVER}-{secrets.token_hex(8)}{path.suffix}")
        try:
            descriptor = open_exclusively(temporary)
        except OSError as error:
            error.filename = str(path)
            raise
        if os.name != "posix":  # a file that is open cannot be renamed there
            os.close(descriptor)
            return temporary, None
        if try_lock(descriptor) and temporary.exists():
            return temporary, descriptor
        os.close(descriptor)  # another process took it for a leftover


def _remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of killed processes."""
    for file in folder.glob(f"{_LEFTOVER}-*") if os.name == "posix" else ():
        try:
            descriptor = os.open(file, os.O_RDWR | NO_LINKS)
        except OSError:  # another process was faster, or it belongs to another user
            continue
        try:
            abandoned = try_lock(descriptor, without_locks=False)
        finally:
            os.close(descriptor)
        if abandoned:
            file.unlink(missing_ok=True)


def sync_folder(path: Path) -> None:
    """Flush the names in a folder to the disk, where the system can do that."""
    if os.name == "posix":
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors=ERRORS)


def replace_non_finite(line: dict[str, Any]) -> dict[str, Any]:
    """The line with None for NaN and infinity, which JSON cannot express."""
    bad = (key for key, v in line.items() if isinstance(v, float) and not math.isfinite(v))
    return {**line, **dict.fromkeys(bad)}


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's content."""
    digest = sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()

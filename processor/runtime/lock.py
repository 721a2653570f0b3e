"""Locks of files and folders that end with the process that holds them."""

from __future__ import annotations

import errno
import json
import logging
import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from processor.runtime.outputs import check_output_folder

logger = logging.getLogger(__name__)

LOCK_FILE = ".lock"
WRITE_SECONDS = 60.0  # that a program waits for another one to finish its change
NO_LINKS = getattr(os, "O_NOFOLLOW", 0)
_BUSY = (errno.EAGAIN, errno.EACCES, errno.EDEADLK)
_POLL_SECONDS = 0.1
_FAR = 2**30  # Windows locks bytes, which others cannot read then
_HELD: set[int] = set()  # descriptors of locked folders


class FolderInUseError(ValueError):
    """Another process works in a folder."""


@contextmanager
def locked_folder(folder: Path, option: str, *, wait: float = 0) -> Iterator[None]:
    """Keep other processes that use this function out of a folder.

    The folder is created if it is absent, and removed at the end if it is empty then. The system
    frees the lock when the process ends, however it does.

    Args:
        folder: where to work.
        option: names the folder, for errors.
        wait: seconds to wait for another process to leave the folder.

    Raises:
        FolderInUseError: another process works in the folder; names it.
        ValueError: the folder cannot be written; see `check_output_folder`.
    """
    check_output_folder(folder, option)
    absent = [x for x in (folder, *folder.parents) if not x.exists()]
    path = folder / LOCK_FILE
    descriptor = _lock(path, option, time.monotonic() + wait)
    _HELD.add(descriptor)
    try:
        yield
    finally:
        _HELD.discard(descriptor)
        if sys.platform == "win32":  # which does not remove an open file
            os.close(descriptor)
            path.unlink(missing_ok=True)
        else:  # before another process can take it
            path.unlink(missing_ok=True)
            os.close(descriptor)
        with suppress(OSError):  # in use
            for made in absent:
                made.rmdir()


def _lock(path: Path, option: str, end: float) -> int:
    """Create and lock a file; raises as `locked_folder`."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | NO_LINKS, 0o666)
        except FileNotFoundError:  # its owner has just removed the folder
            continue
        if try_lock(descriptor):
            if _is_open_at(descriptor, path):
                _write_owner(descriptor)
                return descriptor
            os.close(descriptor)  # its owner has just removed it
            continue
        os.close(descriptor)
        if time.monotonic() >= end:
            raise FolderInUseError(
                f"{option}: {path.parent} is in use by {_owner(path)}; wait for its end, "
                "stop it, or name another folder"
            )
        time.sleep(_POLL_SECONDS)


def _is_open_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False


def open_exclusively(path: Path) -> int:
    """Create a file that does not exist; the descriptor is open for writing."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | NO_LINKS, 0o666)


def try_lock(descriptor: int, *, without_locks: bool = True) -> bool:
    """Lock an open file until it is closed; False if another process has locked it.

    Args:
        descriptor: of the file.
        without_locks: the answer on a file system that has no locks; the log says so.
    """
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(descriptor, _FAR, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _BUSY:
            return False
        logger.debug("no locks on this file system: %s", error)
        return without_locks
    return True


def _close_held() -> None:
    """In a forked worker: do not hold the locks longer than the process that took them."""
    for descriptor in _HELD:
        os.close(descriptor)
    _HELD.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_held)


def _write_owner(descriptor: int) -> None:
    owner = {"pid": os.getpid(), "host": platform.node(), "command": " ".join(sys.argv)}
    os.ftruncate(descriptor, 0)
    os.lseek(descriptor, 0, os.SEEK_SET)
    os.write(descriptor, json.dumps(owner).encode())


def _owner(path: Path) -> str:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return f"process {found['pid']} on {found['host']} ({found['command']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"

"""Whether an output can be written, before any work is done for it."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from pathlib import Path

from processor.runtime.shortages import remedy_for

_OF_THE_SYSTEM = ("/proc", "/sys", "/dev/fd")
LEAST_FREE = 2**20  # bytes; less counts as a full disk
_LONGEST_NAME = 255  # bytes, of most file systems


def check_output_file(path: Path, option: str) -> None:
    """Raise ValueError, with place, reason and remedy, if a file cannot be written."""
    _check_names(path, option)
    _refuse(os.path.isdir(path), path, errno.EISDIR, option)  # noqa: PTH112 - never raises
    if os.path.lexists(path) and not path.is_symlink() and not os.path.isfile(path):  # noqa: PTH113
        raise ValueError(f"{option}: cannot write to {path}: it is a device or a pipe; name a file")
    if any(Path(os.path.realpath(path.parent)).is_relative_to(x) for x in _OF_THE_SYSTEM):
        raise ValueError(f"{option}: cannot write to {path}: a folder of the system; name a file")
    _check_folder(path.parent, option)


def check_output_folder(path: Path, option: str) -> None:
    """Raise ValueError, with place, reason and remedy, if no files can be written to a folder.

    Nothing is created: an absent folder is checked by trying its nearest parent.
    """
    _check_names(path, option)
    _check_folder(path, option)


def _check_folder(path: Path, option: str) -> None:
    place = next(x for x in (path, *path.absolute().parents) if os.path.lexists(x))
    _refuse(not os.path.isdir(place), place, errno.ENOTDIR, option)  # noqa: PTH112
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(bytes(1024))
    except OSError as error:
        raise _refusal(place, error.errno, option) from error
    _refuse(shutil.disk_usage(place).free < LEAST_FREE, place, errno.ENOSPC, option)


def _check_names(path: Path, option: str) -> None:
    for name in path.parts:
        if len(os.fsencode(name)) > _LONGEST_NAME:
            raise _refusal(Path(f"{name[:40]}..."), errno.ENAMETOOLONG, option)


def _refuse(failed: bool, path: Path, number: int, option: str) -> None:  # noqa: FBT001
    if failed:
        raise _refusal(path, number, option)


def _refusal(path: Path, number: int | None, option: str) -> ValueError:
    reason = os.strerror(number) if number else "cannot be written"
    return ValueError(f"{option}: cannot write to {path}: {reason}; {remedy_for(number)}")

"""Errors of the system and of memory become one line with the remedy."""

import errno
import os

import pytest

from processor.runtime.shortages import explain_system_error


def os_error(number, path=None):
    return (
        OSError(number, os.strerror(number), path) if path else OSError(number, os.strerror(number))
    )


IN_WORKER = "Caught {} in DataLoader worker process 0.\nOriginal Traceback (most recent):\n  f\n{}"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (os_error(errno.ENOSPC, "/out/a"), "/out/a: No space left on device; free space there, or"),
        (os_error(errno.EROFS, "/out/a"), "/out/a: Read-only file system; mount it for writing"),
        (os_error(errno.EACCES, "/out/a"), "/out/a: Permission denied; change the permissions"),
        (os_error(errno.EDQUOT, "/out/a"), "/out/a: Disk quota exceeded; free space within"),
        (os_error(errno.ENAMETOOLONG, "/a"), "/a: File name too long; use a shorter name"),
        (os_error(errno.EMFILE), "Too many open files; raise the limit (ulimit -n"),
        (os_error(errno.EAGAIN), "Resource temporarily unavailable; raise the limit of processes"),
        (os_error(errno.ENOMEM), "Cannot allocate memory; close other programs"),
        (os_error(errno.ENXIO, "/x"), "/x: No such device or address; check the place"),
        (OSError("set X to Y"), "set X to Y"),
        (
            OSError(
                IN_WORKER.format("OSError", "OSError: [Errno 24] Too many open files: 'a.jpg'")
            ),
            "OSError: [Errno 24] Too many open files: 'a.jpg'; raise the limit (ulimit -n",
        ),
        (MemoryError(), "not enough memory; close other programs"),
        (MemoryError("re-ranking needs 9 GB; set X"), "re-ranking needs 9 GB; set X"),
        (MemoryError(IN_WORKER.format("MemoryError", "MemoryError")), "not enough memory; close"),
        (
            RuntimeError(
                "[enforce fail at alloc.cpp:1] DefaultCPUAllocator: can't allocate memory: you"
            ),
            "not enough memory: [enforce fail",
        ),
        (
            RuntimeError("CUDA out of memory. Tried to allocate 20 MiB.\nmore"),
            "not enough memory: CUDA",
        ),
        (
            RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "),
            "a worker process was killed, probably as memory ran out: DataLoader worker (pid 7)",
        ),
        (
            RuntimeError(
                "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible"
            ),
            "a worker process had too little shared memory: DataLoader worker (pid 7)",
        ),
        (RuntimeError("DataLoader worker (pid(s) 7) exited unexpectedly"), "a worker process died"),
        (
            RuntimeError(
                "unable to open shared memory object </torch_1>: Too many open files (24)"
            ),
            "too",
        ),
        (RuntimeError("received 0 items of ancdata"), "too few open files: received"),
        (
            RuntimeError("can't start new thread"),
            "too few threads, or too little memory",
        ),
    ],
)
def test_line_names_place_reason_and_remedy(error, line):
    found = explain_system_error(error)
    assert found.startswith(line)
    assert "\n" not in found


@pytest.mark.parametrize("error", [RuntimeError("shape mismatch"), ValueError("x"), KeyError("y")])
def test_other_errors_are_not_explained(error):
    assert explain_system_error(error) is None

"""Errors of the operating system and of memory, in one line with the place and the remedy."""

from __future__ import annotations

import errno
import re

_FEWER_WORKERS = "lower DATALOADER.NUM_WORKERS"
_MEMORY = (
    f"close other programs, {_FEWER_WORKERS} or the batches (SOLVER.STAGE2.IMS_PER_BATCH, "
    "TEST.IMS_PER_BATCH), or set INPUT.CACHE none"
)
_SHARED = (
    f"give /dev/shm more space (docker run --shm-size=8g) or {_FEWER_WORKERS}; 0 needs no space"
)
_FILES = f"raise the limit (ulimit -n 65536) or {_FEWER_WORKERS}"
_PROCESSES = f"raise the limit of processes and threads (ulimit -u) or {_FEWER_WORKERS}"
_ELSEWHERE = "or name another place"
_REMEDIES = {
    errno.ENOSPC: f"free space there, {_ELSEWHERE}",
    errno.EDQUOT: f"free space within your quota, {_ELSEWHERE}",
    errno.EFBIG: f"raise the limit of file sizes (ulimit -f), {_ELSEWHERE}",
    errno.EROFS: f"mount it for writing, {_ELSEWHERE}",
    errno.EACCES: f"change the permissions, {_ELSEWHERE}",
    errno.EPERM: f"change the permissions, {_ELSEWHERE}",
    errno.ENAMETOOLONG: "use a shorter name",
    errno.ENOTDIR: f"part of the path is a file: move that file, {_ELSEWHERE}",
    errno.EEXIST: f"move what is there, {_ELSEWHERE}",
    errno.EISDIR: "that is a folder: name a file",
    errno.ELOOP: f"a link that leads to itself, or is not followed here: remove it, {_ELSEWHERE}",
    errno.ENOENT: "check the name",
    errno.EMFILE: _FILES,
    errno.ENFILE: _FILES,
    errno.EAGAIN: _PROCESSES,
    errno.ENOMEM: _MEMORY,
    errno.EIO: "check the disk and its free space",
}
# Words in a RuntimeError, mostly of torch -> the reason and the remedy; the first match counts.
_SHORTAGES = (
    ("Bus error", "a worker process had too little shared memory", _SHARED),
    ("shared memory object", "too little shared memory or too few open files", _SHARED),
    ("unable to write to file </torch", "too little shared memory", _SHARED),
    ("shm_open", "too little shared memory", _SHARED),
    ("ancdata", "too few open files", _FILES),
    ("Too many open files", "too few open files", _FILES),
    ("exit code 28", "a worker process found too little shared memory", _SHARED),  # ENOSPC
    ("exit code 24", "a worker process found too few open files", _FILES),  # EMFILE
    ("exit code 27", "a worker process may not write files that large", _REMEDIES[errno.EFBIG]),
    ("signal: Killed", "a worker process was killed, probably as memory ran out", _MEMORY),
    ("exited unexpectedly", "a worker process died, probably as memory ran out", _MEMORY),
    ("DataLoader worker (pid", "a worker process was killed", _MEMORY),
    ("DataLoader timed out", "no batch arrived: workers wait for files or memory", _SHARED),
    ("can't start new thread", "too few threads, or too little memory for one", _PROCESSES),
    ("can't allocate memory", "not enough memory", _MEMORY),
    ("not enough memory", "not enough memory", _MEMORY),
    ("out of memory", "not enough memory", _MEMORY),
    ("bad alloc", "not enough memory", _MEMORY),
    ("bad_alloc", "not enough memory", _MEMORY),
    ("Unable to allocate", "not enough memory", _MEMORY),
    # Python below 3.13, of a path whose links lead back to themselves
    ("Symlink loop", "a path cannot be followed", _REMEDIES[errno.ELOOP]),
)


def explain_system_error(error: BaseException) -> str | None:
    """The place or resource, the reason and the remedy in one line.

    Returns:
        None for an error that neither the operating system nor a lack of memory caused.
    """
    text = _last_line(str(error))
    if isinstance(error, OSError):
        own = error.errno is None and "Original Traceback" not in str(error)
        return str(error) if own else _explain_os_error(error, text)  # ours name their remedy
    if isinstance(error, MemoryError):
        return text if text not in ("", "MemoryError") else f"not enough memory; {_MEMORY}"
    if isinstance(error, RuntimeError):
        texts = f"{error}\n{error.__cause__ or ''}"  # the cause has a worker's exit status
        for words, reason, remedy in _SHORTAGES:
            if words in texts:
                return f"{reason}: {text[:200]}; {remedy}"
    return None


def remedy_for(number: int | None) -> str:
    """What to do about an error of the operating system by its number."""
    return _REMEDIES.get(number or 0, "check the place and the system")


def _explain_os_error(error: OSError, text: str) -> str:
    number = error.errno
    if number is None:  # from a worker
        found = re.search(r"\[Errno (\d+)\]", text)
        if found is None:
            return text
        number = int(found[1])
    reason = error.strerror or text
    place = f"{error.filename}: " if error.filename is not None else ""
    return f"{place}{reason}; {remedy_for(number)}"


def _last_line(text: str) -> str:
    """The error itself in a worker's text, which holds a traceback; else the first line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        return ""
    return lines[-1] if "Original Traceback" in text else lines[0]

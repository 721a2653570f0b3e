"""Worker processes of data loaders, and the shared memory through which they hand over batches."""

from __future__ import annotations

import errno
import logging
import multiprocessing
import os
import re
import shutil
import signal
from multiprocessing.queues import Queue
from pathlib import Path

from config.machine import available_cores

logger = logging.getLogger(__name__)

LONGEST_WAIT = 600  # seconds for a batch; a worker that finds no memory delivers none and lives on
BATCHES_PER_WORKER = 2  # that wait to be used; the DataLoader's default
BATCHES_IN_USE = 2  # the one that the main process works on, and the next one
GRACE_SECONDS = 10  # that a worker lives on after SIGTERM
_PLACE = Path("/dev/shm")  # on Linux
_NUMBER = re.compile(r"\((\d+)\)")  # of an error of the system, in torch's text


def free_shared_memory() -> int | None:
    """Free bytes; None where the system sets no limit of its own."""
    return shutil.disk_usage(_PLACE).free if _PLACE.is_dir() else None


def fit_workers(wanted: int, batch_bytes: int, free: int | None, processes: int = 1) -> int:
    """The number of workers whose batches fit the shared memory, at most `wanted`.

    A warning names both sizes and the remedy if it is fewer.

    Args:
        wanted: worker processes per training process.
        batch_bytes: size of the largest batch.
        free: bytes of shared memory; None = no limit.
        processes: training processes that share the memory.
    """
    of_worker = BATCHES_PER_WORKER * batch_bytes
    in_use = BATCHES_IN_USE * batch_bytes
    needed = (wanted * of_worker + in_use) * processes
    if not wanted or free is None or needed <= free:
        return wanted
    fitting = max((free // processes - in_use) // of_worker, 0)
    logger.warning(
        "DATALOADER.NUM_WORKERS: %d workers need %.0f MB of shared memory and %s has %.0f MB free, "
        "so %d are started; give it more (docker run --shm-size=8g) or set smaller batches",
        wanted,
        needed / 2**20,
        _PLACE,
        free / 2**20,
        fitting,
    )
    return fitting


def limit_workers(wanted: int, processes: int = 1) -> int:
    """The number of worker processes: at most one per core.

    Args:
        wanted: workers per training process.
        processes: training processes that share this machine's cores.
    """
    return min(wanted, max(available_cores() // processes, 1))


def choose_workers(wanted: int, batch_bytes: int, processes: int = 1) -> int:
    """The number of workers: at most one per core, as shared memory allows; see `fit_workers`."""
    most = limit_workers(wanted, processes)
    return fit_workers(most, batch_bytes, free_shared_memory(), processes)


def start_method() -> str:
    """How worker processes start, as the program has chosen or by default.

    Python's own function would choose the default for the whole program.
    """
    chosen = multiprocessing.get_start_method(allow_none=True)
    return chosen or multiprocessing.get_all_start_methods()[0]


def prepare_worker(_worker: int) -> None:
    """Set what a worker does on signals and on shortages; the loaders' `worker_init_fn`.

    Terminals and clusters send a signal to every process of a job, which workers outlive: the main
    process stops between two batches, saves, and ends its workers; it would fail if a worker died
    first. After SIGTERM, a worker lives on for GRACE_SECONDS only. A worker that cannot hand over a
    batch ends.
    """
    for name in ("SIGINT", "SIGHUP", "SIGUSR1"):
        if hasattr(signal, name):  # not all on Windows
            signal.signal(signal.Signals[name], signal.SIG_IGN)
    if hasattr(signal, "alarm"):
        signal.signal(signal.SIGALRM, lambda *_: os._exit(0))
        signal.signal(signal.SIGTERM, lambda *_: signal.alarm(GRACE_SECONDS))
    Queue._on_queue_feeder_error = staticmethod(_give_up)  # type: ignore[attr-defined]


def _give_up(error: BaseException, _batch: object) -> None:
    """End a worker that cannot hand over a batch: the main process would wait for it.

    The exit status is the number of the system's error, which the main process explains.
    """
    numbers = [getattr(error, "errno", None), *map(int, _NUMBER.findall(str(error)))]
    os._exit(next(filter(None, numbers), errno.ENOSPC))

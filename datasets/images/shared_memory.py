"""Shared memory, through which worker processes hand over their batches."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

logger = logging.getLogger(__name__)

LONGEST_WAIT = 600  # seconds for a batch; a worker that finds no memory delivers none and lives on
BATCHES_PER_WORKER = 2  # that wait to be used; the DataLoader's default
_PLACE = Path("/dev/shm")  # on Linux


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
    if free is None or wanted * of_worker * processes <= free:
        return wanted
    fitting = free // (of_worker * processes)
    logger.warning(
        "DATALOADER.NUM_WORKERS: %d workers need %.0f MB of shared memory and %s has %.0f MB free, "
        "so %d are started; give it more (docker run --shm-size=8g) or set smaller batches",
        wanted,
        wanted * of_worker * processes / 2**20,
        _PLACE,
        free / 2**20,
        fitting,
    )
    return fitting

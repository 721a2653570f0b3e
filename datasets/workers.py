"""Worker processes of data loaders: how many, and how they end."""

from __future__ import annotations

import os
import signal

GRACE_SECONDS = 10


def num_workers(wanted: int, processes: int = 1) -> int:
    """Worker processes: at most one per core; results do not depend on their number.

    Args:
        wanted: of one training process.
        processes: training processes that share this machine's cores.
    """
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return min(wanted, max(cores // processes, 1))


def outlive_sigterm(_worker: int) -> None:
    """Let this worker go on for a while after a SIGTERM; a loader's `worker_init_fn`.

    Clusters send the signal to every process of a job. The main process then stops between two
    batches, saves and ends its workers; a worker that died at once would end it first.
    """
    if hasattr(signal, "alarm"):  # not on Windows, which has no such signals
        signal.signal(signal.SIGALRM, lambda *_: os._exit(0))
        signal.signal(signal.SIGTERM, lambda *_: signal.alarm(GRACE_SECONDS))

"""Several processes that train one model, started by torchrun; in a single one, all are no-ops.

A process group is global to its process, so these are functions rather than a class. A single
process does not import torch here, as commands that need no model start in a fraction of a second.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import pairwise
from typing import Any, TypeVar

TIMEOUT = timedelta(hours=2)  # the first process scores large galleries while the others wait
SPEAK_SECONDS = 5  # for the first process to report an error and torchrun to end the others

Value = TypeVar("Value")


@contextmanager
def joined_processes() -> Iterator[None]:
    """Join the process group that torchrun's environment describes, if any; leave it at the end."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or _group() is not None:
        yield
        return
    import torch
    from torch import distributed as dist

    # MODEL.DEVICE is not known yet; it may be cpu on a machine with GPUs.
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, timeout=TIMEOUT)
    try:
        yield
    finally:
        dist.destroy_process_group()


def _group() -> Any:
    """The module torch.distributed if there is a process group, else None."""
    dist = sys.modules.get("torch.distributed")
    return dist if dist is not None and dist.is_initialized() else None


def rank() -> int:
    """This process's number among all, from 0."""
    dist = _group()
    return dist.get_rank() if dist else 0


def size() -> int:
    """Number of processes on all machines."""
    dist = _group()
    return dist.get_world_size() if dist else 1


def local_rank() -> int:
    """This process's number on its machine, from 0."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def local_size() -> int:
    """Number of processes on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def is_first() -> bool:
    """Whether this process writes files and scores."""
    return rank() == 0


def share(count: int) -> range:
    """This process's contiguous share of `count` items."""
    return shares(count)[rank()]


def shares(count: int) -> list[range]:
    """The contiguous share of `count` items per process; lengths differ by at most one."""
    ends = [number * count // size() for number in range(size() + 1)]
    return [range(*pair) for pair in pairwise(ends)]


def wait_for_all() -> None:
    """Block until every process has arrived here."""
    if size() > 1:
        _group().barrier()


@contextmanager
def first_process_first() -> Iterator[None]:
    """Run the block on the first process before the others: it creates files that they find."""
    if not is_first():
        wait_for_all()
    try:
        yield
    finally:
        if is_first():  # after a failure too: the others then raise the same error
            wait_for_all()


def let_first_process_speak() -> None:
    """Delay reporting an error that all processes share until the first one has reported it.

    torchrun then ends the others; a process that returns from here is the only one with its error.
    """
    if not is_first():
        time.sleep(SPEAK_SECONDS)


def is_lost_process(error: RuntimeError) -> bool:
    """Whether an error means that another process ended while this one waited for it."""
    of_nccl = type(error).__name__ == "DistBackendError"
    return size() > 1 and (of_nccl or "gloo/transport" in str(error))


def from_first(make: Callable[[], Value]) -> Value:
    """Call `make` on the first process and return its picklable result on every process."""
    if size() == 1:
        return make()
    box: list[Any] = [make() if is_first() else None]
    _group().broadcast_object_list(box, src=0)
    received: Value = box[0]
    return received


def broadcast(value: Value) -> Value:
    """The first process's picklable value, on every process."""
    return from_first(lambda: value)


def collect(value: Value) -> list[Value]:
    """The picklable values of all processes, by rank."""
    if size() == 1:
        return [value]
    box: list[Any] = [None] * size()
    _group().all_gather_object(box, value)
    return box

"""Several processes that train one model, started by torchrun; in a single one, all are no-ops.

A process group is global to its process, so these are functions rather than a class.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from itertools import pairwise
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

TIMEOUT = timedelta(hours=2)  # the first process scores large galleries while the others wait
SPEAK_SECONDS = 5  # for the first process to report an error and torchrun to end the others

Value = TypeVar("Value")


@contextmanager
def joined_processes() -> Iterator[None]:
    """Join the process group that torchrun's environment describes, if any; leave it at the end."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        yield
        return
    # MODEL.DEVICE is not known yet; it may be cpu on a machine with GPUs.
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, timeout=TIMEOUT)
    try:
        yield
    finally:
        dist.destroy_process_group()


def rank() -> int:
    """This process's number among all, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def size() -> int:
    """Number of processes on all machines."""
    return dist.get_world_size() if dist.is_initialized() else 1


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
        dist.barrier()


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
    return size() > 1 and "gloo/transport" in str(error)


def from_first(make: Callable[[], Value]) -> Value:
    """Call `make` on the first process and return its picklable result on every process."""
    if size() == 1:
        return make()
    box: list[Any] = [make() if is_first() else None]
    dist.broadcast_object_list(box, src=0)
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
    dist.all_gather_object(box, value)
    return box


def all_sizes(rows: Tensor) -> list[int]:
    """The number of rows of every process, by rank."""
    if size() == 1:
        return [len(rows)]
    own = torch.tensor([len(rows)], device=rows.device)
    found = [torch.zeros_like(own) for _ in range(size())]
    dist.all_gather(found, own)
    sizes: list[int] = torch.cat(found).tolist()
    return sizes


def gather(rows: Tensor, sizes: Sequence[int]) -> Tensor:
    """The rows of all processes, by rank; gradients flow to this process's rows.

    If every process computes the same loss from all rows and the gradients of the parameters behind
    the rows are averaged over the processes, as `DistributedDataParallel` does, the result is the
    gradient of that one loss.

    Args:
        rows: (n, ...) of this process. Rows beyond n are dropped: they are placeholders where a
            process has nothing of its own to encode.
        sizes: n of every process.
    """
    if size() == 1:
        return rows
    gathered: Tensor = _Gather.apply(rows[: sizes[rank()]], tuple(sizes))
    return gathered


def average_gradients(
    module: nn.Module, *, find_unused_parameters: bool = False
) -> DistributedDataParallel:
    """Wrap a module so that its gradients are averaged over the processes.

    Args:
        module: the same on every process; its buffers are not synchronized.
        find_unused_parameters: some parameters may have no gradient.
    """
    wrapped = DistributedDataParallel(module, find_unused_parameters=find_unused_parameters)
    wrapped.broadcast_buffers = False  # the argument of this name is deprecated
    return wrapped


class _Gather(torch.autograd.Function):
    """All rows; backward, the own rows' gradient times the number of processes.

    Every process already has the gradient of the whole loss, so nothing is sent. The factor
    compensates for the average over processes that follows.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, sizes: tuple[int, ...]) -> Tensor:
        start = sum(sizes[: rank()])
        ctx.own = slice(start, start + sizes[rank()])
        return _all_rows(rows, sizes)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient[ctx.own] * size(), None


def _all_rows(rows: Tensor, sizes: Sequence[int]) -> Tensor:
    """Rows of all processes, padded to equal numbers for the transfer."""
    padded = rows.new_zeros(max(sizes), *rows.shape[1:])
    padded[: len(rows)] = rows
    parts = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(parts, padded)
    return torch.cat([part[:count] for part, count in zip(parts, sizes, strict=True)])

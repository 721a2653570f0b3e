"""Several processes that train one model, as torchrun starts them; alone, everything is a no-op.

A process group is a matter of the whole process, so these are functions that ask torch for it.
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
SPEAK_SECONDS = 5  # for the first process to say an error and for torchrun to end the others

Value = TypeVar("Value")


@contextmanager
def joined_processes() -> Iterator[None]:
    """Join the processes that torchrun's environment tells of, if any; leave them at the end."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        yield
        return
    # MODEL.DEVICE is not known yet, and may be cpu where there are GPUs.
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, timeout=TIMEOUT)
    try:
        yield
    finally:
        dist.destroy_process_group()


def rank() -> int:
    """This process among all, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def size() -> int:
    """Processes on all machines."""
    return dist.get_world_size() if dist.is_initialized() else 1


def local_rank() -> int:
    """This process on its machine, from 0."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def local_size() -> int:
    """Processes on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def is_first() -> bool:
    """Whether this process writes files and scores."""
    return rank() == 0


def share(count: int) -> range:
    """This process's part of `count` things in order."""
    return shares(count)[rank()]


def shares(count: int) -> list[range]:
    """Every process's part of `count` things in order; lengths differ by one at most."""
    ends = [number * count // size() for number in range(size() + 1)]
    return [range(*pair) for pair in pairwise(ends)]


def wait_for_all() -> None:
    """Go on when every process has come here."""
    if size() > 1:
        dist.barrier()


@contextmanager
def first_process_first() -> Iterator[None]:
    """Let the first process do this before the others, for files that it makes and they find."""
    if not is_first():
        wait_for_all()
    try:
        yield
    finally:
        if is_first():  # also when it failed: the others then meet the same error
            wait_for_all()


def let_first_process_speak() -> None:
    """Wait with an error that all processes have until the first one has said it.

    torchrun then ends the others; one that comes back from here is alone with its error.
    """
    if not is_first():
        time.sleep(SPEAK_SECONDS)


def is_lost_process(error: RuntimeError) -> bool:
    """Whether an error means that another process has ended while this one waited for it."""
    return size() > 1 and "gloo/transport" in str(error)


def from_first(make: Callable[[], Value]) -> Value:
    """What the first process makes, on every process; it has to be picklable."""
    if size() == 1:
        return make()
    box: list[Any] = [make() if is_first() else None]
    dist.broadcast_object_list(box, src=0)
    received: Value = box[0]
    return received


def broadcast(value: Value) -> Value:
    """The first process's value on every process; it has to be picklable."""
    return from_first(lambda: value)


def collect(value: Value) -> list[Value]:
    """The values of all processes, by rank; they have to be picklable."""
    if size() == 1:
        return [value]
    box: list[Any] = [None] * size()
    dist.all_gather_object(box, value)
    return box


def all_sizes(rows: Tensor) -> list[int]:
    """How many rows every process has."""
    if size() == 1:
        return [len(rows)]
    own = torch.tensor([len(rows)], device=rows.device)
    found = [torch.zeros_like(own) for _ in range(size())]
    dist.all_gather(found, own)
    sizes: list[int] = torch.cat(found).tolist()
    return sizes


def gather(rows: Tensor, sizes: Sequence[int]) -> Tensor:
    """The rows of all processes, by rank; gradients flow to this one's.

    Every process has to compute the same loss from all rows, and the gradients of the parameters
    that made the rows have to be averaged over the processes, as `DistributedDataParallel` does:
    the result is the gradient of that one loss.

    Args:
        rows: (n, ...) of this process. Rows beyond n, which stand in where a process has nothing of
            its own to encode, are left out.
        sizes: n of every process.
    """
    if size() == 1:
        return rows
    gathered: Tensor = _Gather.apply(rows[: sizes[rank()]], tuple(sizes))
    return gathered


def average_gradients(
    module: nn.Module, *, find_unused_parameters: bool = False
) -> DistributedDataParallel:
    """The module in a wrapper that averages its gradients over the processes.

    Args:
        module: the same on every process; its buffers are left to themselves.
        find_unused_parameters: a loss may leave parameters out.
    """
    wrapped = DistributedDataParallel(module, find_unused_parameters=find_unused_parameters)
    wrapped.broadcast_buffers = False  # the argument of this name is deprecated
    return wrapped


class _Gather(torch.autograd.Function):
    """All rows; backward, the own rows' gradient times the number of processes.

    Every process has the gradient of the whole loss already, so nothing is sent. The factor makes
    up for the average over processes that follows.
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
    """Rows of all processes; where they are not equally many, padded on the way."""
    padded = rows.new_zeros(max(sizes), *rows.shape[1:])
    padded[: len(rows)] = rows
    parts = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(parts, padded)
    return torch.cat([part[:count] for part, count in zip(parts, sizes, strict=True)])

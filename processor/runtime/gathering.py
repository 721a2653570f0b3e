"""Tensors of several processes, brought together; in a single process, all are no-ops."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from processor.runtime.distributed import local_size, rank, size


def all_sizes(rows: Tensor) -> list[int]:
    """The number of rows of every process, by rank."""
    if size() == 1:
        return [len(rows)]
    own = torch.tensor([len(rows)])  # on the CPU, so that no process waits for its GPU
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


def copies_in_memory(device: torch.device) -> float:
    """How many times rows that every process gathers are in a device's memory at that moment."""
    if size() == 1:
        return 1
    own = 1 / size()
    return (1 + own) * (local_size() if device.type == "cpu" else 1)


def broadcast(values: Tensor) -> Tensor:
    """The first process's values, on every process; `values` is overwritten."""
    if size() > 1:
        dist.broadcast(values, src=0)
    return values


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
    """Rows of all processes, received where they stay."""
    gathered = rows.new_empty(sum(sizes), *rows.shape[1:])
    for source, part in enumerate(gathered.split(list(sizes))):
        if source == rank():
            part.copy_(rows)
        if len(part):
            dist.broadcast(part, src=source)
    return gathered

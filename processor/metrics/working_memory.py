"""Working memory: how many rows of a distance matrix are computed at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from processor.metrics.products import products_in_memory

CACHE_MB = 32.0  # block of distances, with what ranking adds to it, that fits a CPU's caches
MIN_ROWS = 192  # of a block on a CPU; products of fewer rows are slower
CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True)
class WorkingMemory:
    """Memory for one block of distances.

    Attributes:
        mb: MiB that a block may take; TEST.CHUNK_MB.
        device: where the distances are computed.

    Raises:
        ValueError: `mb` is not positive.
    """

    mb: float = 512
    device: torch.device = CPU

    def __post_init__(self) -> None:
        if self.mb <= 0:
            raise ValueError(f"chunk_mb: expected a positive number of MiB, got {self.mb}")

    @property
    def bytes_per_distance(self) -> int:
        """Memory that `distance_blocks` takes per distance of a block."""
        return 4 * products_in_memory(self.device)

    def block_mb(self, bytes_per_row: int) -> float:
        """MiB of a block: all of `mb`, but on a CPU no more than its caches hold."""
        if self.device.type != "cpu":
            return self.mb
        return min(self.mb, max(CACHE_MB, MIN_ROWS * bytes_per_row / 2**20))

    def blocks(self, num_rows: int, bytes_per_row: int) -> Iterator[slice]:
        """Consecutive slices of 0..num_rows that fit `block_mb`, or are one row."""
        return _slices(num_rows, bytes_per_row, self.block_mb(bytes_per_row))

    def chunks(self, num_rows: int, bytes_per_row: int) -> Iterator[slice]:
        """Consecutive slices of 0..num_rows that fit all of `mb`, or are one row."""
        return _slices(num_rows, bytes_per_row, self.mb)


def _slices(num_rows: int, bytes_per_row: int, max_mb: float) -> Iterator[slice]:
    step = max(1, int(max_mb * 2**20) // bytes_per_row)
    for start in range(0, num_rows, step):
        yield slice(start, min(start + step, num_rows))

"""Sparse matrices by rows, on any device, in operations of torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class SparseRows:
    """An (N, M) matrix: row i holds `values` at `columns`, from `starts[i]` to `starts[i + 1]`.

    Attributes:
        starts: (N + 1,) long.
        columns: (E,) long, ascending in each row.
        values: (E,) float32.
        num_columns: M.
    """

    starts: Tensor
    columns: Tensor
    values: Tensor
    num_columns: int

    @classmethod
    def from_keys(cls, keys: Tensor, values: Tensor, num_rows: int, num_columns: int) -> SparseRows:
        """From ascending keys row * M + column."""
        firsts = torch.arange(num_rows + 1, device=keys.device) * num_columns
        starts = torch.searchsorted(keys, firsts)
        return cls(starts, keys % num_columns, values, num_columns)

    @property
    def num_rows(self) -> int:
        """N."""
        return len(self.starts) - 1

    @property
    def lengths(self) -> Tensor:
        """(N,) entries of each row."""
        return self.starts.diff()

    def rows(self, chosen: slice) -> SparseRows:
        """Some consecutive rows."""
        starts = self.starts[chosen.start : chosen.stop + 1]
        own = slice(int(starts[0]), int(starts[-1]))
        return SparseRows(starts - starts[0], self.columns[own], self.values[own], self.num_columns)

    def row_numbers(self) -> Tensor:
        """(E,) the row of every entry."""
        return torch.repeat_interleave(self.lengths)

    def transposed(self) -> SparseRows:
        """The (M, N) matrix."""
        keys = self.columns * self.num_rows + self.row_numbers()
        keys, order = keys.sort()
        return SparseRows.from_keys(keys, self.values[order], self.num_columns, self.num_rows)

    def entries_of(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """All entries of (n,) rows: to which of the n each belongs, and its place in `columns`."""
        first, lengths = self.starts[rows], self.starts[rows + 1] - self.starts[rows]
        owners = torch.repeat_interleave(lengths)
        before = lengths.cumsum(0) - lengths
        return owners, torch.arange(len(owners), device=rows.device) + (first - before)[owners]


def bounded_slices(counts: Tensor, limit: int) -> Iterator[slice]:
    """Consecutive slices of counts whose sums are at most `limit`, or of one count."""
    ends = counts.cumsum(0).cpu()
    start, total = 0, 0
    while start < len(ends):
        stop = max(int(torch.searchsorted(ends, total + limit, right=True)), start + 1)
        yield slice(start, stop)
        start, total = stop, int(ends[stop - 1])

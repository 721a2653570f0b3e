"""Features in several memory-mapped files, or of half precision, as one float32 matrix."""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from typing import Any

import numpy as np


class FeatureRows:
    """(N, D) features that stay in their files; rows are read, as float32, when they are asked for.

    `rows[4:9]`, `rows[[7, 2]]` and `rows[mask]` are arrays, `np.asarray(rows)` is the whole matrix
    in memory.

    Args:
        parts: matrices of D columns each, float32 or float16.
    """

    ndim = 2
    dtype = np.dtype(np.float32)

    def __init__(self, parts: Sequence[np.ndarray]) -> None:
        self._parts = list(parts)
        self._starts = np.cumsum([0, *map(len, parts)])
        self.shape = (int(self._starts[-1]), parts[0].shape[1])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | Sequence[int] | np.ndarray) -> np.ndarray:
        if isinstance(rows, slice):
            first, last, step = rows.indices(len(self))
            if step != 1:
                return self._gather(np.arange(first, last, step))
            return self._slice(first, last)
        return self._gather(np.asarray(rows))

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return self[:].astype(dtype or self.dtype, copy=False)

    def _slice(self, first: int, last: int) -> np.ndarray:
        found = np.empty((max(last - first, 0), self.shape[1]), dtype=self.dtype)
        for part, start in zip(self._parts, self._starts[:-1].tolist(), strict=True):
            own = slice(max(first - start, 0), max(last - start, 0))
            rows = part[own]
            if len(rows):
                place = start + own.start - first
                found[place : place + len(rows)] = rows
                _unload(part)
        return found

    def _gather(self, rows: np.ndarray) -> np.ndarray:
        """Rows by their numbers or a mask; raises IndexError for rows that do not exist."""
        if rows.dtype == bool:
            if rows.shape != (len(self),):
                raise IndexError(f"a mask of {len(self)} rows is needed, got {rows.shape}")
            rows = np.flatnonzero(rows)
        if rows.size and not (rows.min() >= 0 and rows.max() < len(self)):
            raise IndexError(f"rows 0 to {len(self) - 1} exist, got {rows.min()} to {rows.max()}")
        found = np.empty((len(rows), self.shape[1]), dtype=self.dtype)
        owners = np.searchsorted(self._starts, rows, side="right") - 1
        for number in np.unique(owners):
            own = owners == number
            found[own] = self._parts[number][rows[own] - self._starts[number]]
            _unload(self._parts[number])
        return found


def _unload(part: np.ndarray) -> None:
    """Take the pages that were read off this process's memory; the system may keep them cached."""
    if isinstance(part.base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        part.base.madvise(mmap.MADV_DONTNEED)

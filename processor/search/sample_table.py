"""The images of millions of rows: CSV files that are parsed where a row is asked for."""

from __future__ import annotations

import csv
import mmap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import overload

import numpy as np

from config.text import ERRORS
from datasets.records import Sample
from processor.search.stored_checks import parse_samples

BLOCK = 2**24  # bytes that are looked through at a time
_QUOTE, _NEWLINE = b'"\n'


class SampleTable(Sequence[Sample]):
    """The images of all rows of CSV files as `FeatureFile` writes them.

    In memory are 8 bytes per row, the rows' places in the files.

    Args:
        files: each with a line of column names.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = list(files)
        self._contents = [_map(file) for file in files]
        self._ends = [_row_ends(content) for content in self._contents]
        # The first row holds the names of the columns.
        self._starts = np.cumsum([0, *(max(len(ends) - 1, 0) for ends in self._ends)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def counts(self) -> list[int]:
        """Rows of every file."""
        return np.diff(self._starts).tolist()

    @overload
    def __getitem__(self, row: int) -> Sample: ...
    @overload
    def __getitem__(self, row: slice) -> list[Sample]: ...
    def __getitem__(self, row: int | slice) -> Sample | list[Sample]:
        if isinstance(row, slice):
            return [self[number] for number in range(*row.indices(len(self)))]
        if not -len(self) <= row < len(self):
            raise IndexError(f"row {row} of {len(self)}")
        row %= len(self)
        file = int(np.searchsorted(self._starts, row, side="right")) - 1
        own = row - int(self._starts[file])
        first, last = self._ends[file][own : own + 2].tolist()
        text = self._contents[file][first:last].decode("utf-8", ERRORS)
        (sample,) = parse_samples(self._files[file], csv.reader([text]), first_row=own)
        return sample

    def __iter__(self) -> Iterator[Sample]:
        return (self[row] for row in range(len(self)))


def _map(file: Path) -> mmap.mmap | bytes:
    with file.open("rb") as stream:
        if not file.stat().st_size:
            return b""
        return mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)


def _row_ends(content: mmap.mmap | bytes) -> np.ndarray:
    """Where each row ends: behind a newline that is not in quotes, or at the file's end."""
    ends = [np.empty(0, dtype=np.int64)]
    quotes = 0
    for start in range(0, len(content), BLOCK):
        block = np.frombuffer(content[start : start + BLOCK], dtype=np.uint8)
        open_quotes = quotes + np.cumsum(block == _QUOTE)
        ends.append(np.flatnonzero((block == _NEWLINE) & (open_quotes % 2 == 0)) + start + 1)
        quotes = int(open_quotes[-1])
    found = np.concatenate(ends)
    whole = len(found) and found[-1] == len(content)
    return found if whole or not len(content) else np.append(found, len(content))

"""Checks of stored matrices and tables before they are used."""

from __future__ import annotations

import csv
import struct
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from tokenize import TokenError
from typing import Any, Literal

import numpy as np

from datasets.records import UNKNOWN, Sample
from model.weights.archive import check_archive_size
from processor.runtime.stored import REDO

_ROWS_AT_ONCE = 2**16
_DAMAGE = (  # what NumPy and zipfile raise for bytes that make no sense
    *(ValueError, KeyError, TypeError, EOFError, MemoryError, OverflowError, SyntaxError),
    *(NotImplementedError, TokenError, zipfile.BadZipFile, zlib.error, struct.error, OSError),
)


def check_matrix(path: Path, features: np.ndarray, rows: int, *, normalized: bool) -> None:
    """Raise ValueError unless these are finite features of that many rows.

    Args:
        path: of the file, for the error.
        features: (N, D) float32 or float16.
        rows: N.
        normalized: the features must have length 1.
    """
    check_matrix_shape(path, features, rows)
    for start in range(0, rows, _ROWS_AT_ONCE):
        block = np.asarray(features[start : start + _ROWS_AT_ONCE], dtype=np.float32)
        if not np.isfinite(block).all():
            raise ValueError(f"{path}: the features are not all finite; {REDO}")
        if normalized and not np.allclose(np.linalg.norm(block, axis=1), 1, atol=1e-3):
            raise ValueError(f"{path}: features of another length than 1; {REDO}")


def check_matrix_shape(path: Path, features: np.ndarray, rows: int) -> None:
    """Raise ValueError unless these are features of that many rows; their values are not read."""
    if features.ndim != 2 or features.dtype not in (np.float32, np.float16):
        shape = f"{features.dtype} {features.shape}"
        raise ValueError(f"{path}: the features are {shape}, not a float32 matrix; {REDO}")
    if len(features) != rows:
        raise ValueError(f"{path}: {len(features):,} rows of features for {rows:,} images; {REDO}")


def map_npy(path: Path, mode: Literal["r", "c"]) -> np.ndarray:
    """The mapped array of a .npy; raises ValueError if it is damaged."""
    try:
        return np.load(path, mmap_mode=mode, allow_pickle=False)
    except _DAMAGE as error:
        raise_from_system(error)
        raise ValueError(f"{path} is damaged: {first_line(error)}; {REDO}") from error


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a .npz; raises ValueError if it is damaged or unpacks to more than it has."""
    try:
        check_archive_size(path)
        with np.load(path, allow_pickle=False) as content:
            return {name: content[name] for name in content.files}
    except _DAMAGE as error:
        raise_from_system(error)
        raise ValueError(f"{path}: not a readable .npz ({first_line(error)}); {REDO}") from error


def raise_from_system(error: BaseException) -> None:
    """Raise an error of the system again: it is not the file's content that is at fault."""
    if isinstance(error, OSError) and error.filename is not None:
        raise error


def first_line(error: BaseException) -> str:
    """The text of an error in one line."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def _whole(value: Any) -> int:
    """A 64-bit number; raises ValueError for another one."""
    number = int(value)
    if number != float(value) or not -(2**63) <= number < 2**63:
        raise ValueError(f"{value} is not a whole number of 64 bits")
    return number


def parse_samples(file: Path, rows: Iterable[Sequence[Any]], first_row: int = 0) -> list[Sample]:
    """The images of rows of COLUMNS; a file without names has only the first three.

    Args:
        file: for the error.
        rows: of the file.
        first_row: number of the first one, for the error.

    Raises:
        ValueError: a row is not one of these; names the file.
    """
    samples = []
    try:
        for path, pid, camid, *names in rows:
            if len(names) not in (0, 2) or not all(isinstance(x, str) for x in (path, *names)):
                raise ValueError(f"{len(names) + 3} columns")
            if "\0" in path:
                raise ValueError("a zero byte in its path")
            samples.append(Sample(path, _whole(pid), _whole(camid), UNKNOWN, *names))
    except (ValueError, TypeError, csv.Error) as error:
        row = first_row + len(samples) + 1
        raise ValueError(f"{file}: row {row} is not an image ({error}); {REDO}") from error
    return samples

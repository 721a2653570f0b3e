"""Features as they were stored: in a .npz, in a .npy with sidecars, or in a folder of shards."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from datasets.records import Sample
from processor.runtime.files import atomic_file
from processor.runtime.stored import REDO
from processor.search.feature_file import (
    ARRAYS,
    NUMBER_COLUMNS,
    SUFFIXES,
    FeatureFile,
    cells,
    csv_of,
    read_record,
    read_samples,
    remove_file,
)
from processor.search.feature_record import (
    Record,
    check_complete,
    check_shape,
    without_progress,
)
from processor.search.feature_rows import FeatureRows
from processor.search.sample_table import SampleTable
from processor.search.shard_files import SHARDS, find_shards, joined_record
from processor.search.stored_checks import (
    check_matrix,
    check_matrix_shape,
    map_npy,
    parse_samples,
    read_npz,
)

MOST_CHECKED = 2**20  # rows
FILES = (*SUFFIXES, SHARDS)  # endings of what `read_features` reads


@dataclass(frozen=True, slots=True)
class StoredFeatures:
    """Features and their images.

    Attributes:
        features: (N, D) float32; memory-mapped from a .npy (copy on write) and from shards, whose
            rows are read when they are asked for.
        samples: N images, with paths as given at extraction; -1 = pid or camid unknown. Of more
            than a million rows, parsed when they are asked for.
        record: "model" (see `describe_features`), "checkpoint", "normalized", ...
        files: that hold the features; none = they are in memory only.
    """

    features: np.ndarray | FeatureRows
    samples: Sequence[Sample]
    record: Record
    files: tuple[Path, ...] = ()

    @property
    def paths(self) -> list[str]:
        """Path of every image."""
        return [sample.path for sample in self.samples]

    @property
    def names(self) -> list[str]:
        """Name of the identity of every image; empty = unknown."""
        return [sample.identity for sample in self.samples]

    @property
    def pids(self) -> np.ndarray:
        """(N,) int64 number of the identity; -1 = unknown."""
        return np.array([sample.pid for sample in self.samples], dtype=np.int64)

    @property
    def camids(self) -> np.ndarray:
        """(N,) int64 number of the camera; -1 = unknown."""
        return np.array([sample.camid for sample in self.samples], dtype=np.int64)


def read_features(path: str | Path) -> StoredFeatures:
    """Read a .npz, a .npy with its sidecars, or a folder of shards.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it was not written by this program, or is incomplete.
    """
    path = Path(path)
    if path.suffix == SHARDS:
        return _read_shards(path)
    record = read_record(path)
    check_complete(path, record)
    if path.suffix == ".npz":
        return _read_packed(path, record)
    return _read_mapped([path], [record], record)


def _read_packed(path: Path, record: Record) -> StoredFeatures:
    content = read_npz(path)
    columns = [content[name].tolist() for name in ARRAYS if name in content]
    if len(columns) < len(NUMBER_COLUMNS) or "features" not in content:
        raise ValueError(f"{path}: features or columns are missing; {REDO}")
    samples = parse_samples(path, zip(*columns, strict=False))
    if {len(column) for column in columns} != {len(samples)}:
        raise ValueError(f"{path}: columns of different lengths; {REDO}")
    features = content["features"]
    check_matrix(path, features, len(samples), normalized=bool(record.get("normalized")))
    check_shape(path, record, features.shape)
    return StoredFeatures(features.astype(np.float32, copy=False), samples, record, (path,))


def _read_shards(folder: Path) -> StoredFeatures:
    files = find_shards(folder)
    records = [read_record(file) for file in files]
    return _read_mapped(files, records, joined_record(files, records))


def _read_mapped(
    files: Sequence[Path], records: Sequence[Record], joined: Record
) -> StoredFeatures:
    """Features of .npy files; up to MOST_CHECKED rows are checked before they are used."""
    matrices = [map_npy(file, "c") for file in files]  # torch warns about read-only memory
    few = sum(matrix.shape[0] for matrix in matrices if matrix.ndim) <= MOST_CHECKED
    samples: Sequence[Sample]
    if few:
        lists = [read_samples(file) for file in files]
        samples, counts = [sample for own in lists for sample in own], list(map(len, lists))
    else:
        samples = table = SampleTable([csv_of(file) for file in files])
        counts = table.counts
    for file, matrix, count, record in zip(files, matrices, counts, records, strict=True):
        if few:
            check_matrix(file, matrix, count, normalized=bool(record.get("normalized")))
        else:
            check_matrix_shape(file, matrix, count)
        check_shape(file, record, matrix.shape)
    plain = few and len(files) == 1 and matrices[0].dtype == np.float32
    features = matrices[0] if plain else FeatureRows(matrices)
    return StoredFeatures(features, samples, joined, tuple(files))


def pack_features(source: Path, target: Path) -> None:
    """Write the features of a complete .npy as one .npz and remove the .npy and its sidecars."""
    _pack(source, target)  # unmaps the source; Windows cannot remove a mapped file
    remove_file(source)


def _pack(source: Path, target: Path) -> None:
    stored = read_features(source)
    columns = map(np.array, zip(*map(cells, stored.samples), strict=True))
    arrays = dict(zip(ARRAYS, columns, strict=True))
    matrix = np.asarray(stored.features, dtype=stored.record.get("dtype", "float32"))
    arrays |= {"features": matrix, "record": np.array(json.dumps(stored.record))}
    with atomic_file(target) as partial, partial.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def unpack_features(source: Path, target: Path) -> None:
    """Write the features of a .npz as a .npy with its sidecars; an interrupted one starts anew."""
    stored = read_features(source)
    remove_file(target)
    record = without_progress(stored.record)
    with FeatureFile(target, stored.features.shape[1], record) as file:
        features = torch.from_numpy(np.asarray(stored.features))
        file.append(features, stored.samples, stored.record["bad_images"])

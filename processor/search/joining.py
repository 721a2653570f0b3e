"""Shards of features, joined to one file."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from processor.runtime.lock import locked_folder
from processor.search.feature_file import FeatureFile, csv_of, read_record, remove_file
from processor.search.feature_record import (
    Record,
    check_complete,
    check_same_record,
    without_progress,
)
from processor.search.sample_table import SampleTable
from processor.search.shard_files import find_shards, joined_record
from processor.search.stored_checks import check_matrix_shape, map_npy
from processor.search.stored_features import pack_features

logger = logging.getLogger(__name__)

ROWS_AT_ONCE = 2**16


def join_shards(folder: Path, output: Path) -> None:
    """Write the rows of all shards as one file, byte-equal to that of one process.

    An interrupted joining starts anew; the shards stay.

    Args:
        folder: of the shards.
        output: .npz, or .npy with sidecars.

    Raises:
        FileNotFoundError, ValueError: as `find_shards`; no shard has a row; the output exists with
            other features; another process joins these shards.
    """
    files = find_shards(folder)
    records = [read_record(file) for file in files]
    joined = joined_record(files, records)
    if is_complete(output, without_progress(joined)):
        return
    if not joined["rows"]:
        raise ValueError(f"{folder}: no image could be read")
    with locked_folder(folder, "--join"):
        growing = output.with_name(f".{output.stem}.joining.npy")
        remove_file(growing)
        with FeatureFile(growing, joined["dim"], without_progress(joined)) as file:
            for shard, record in zip(files, records, strict=True):
                _append_shard(file, shard, record["bad_images"])
        if output.suffix == ".npz":
            pack_features(growing, output)
        else:
            for suffix in (".json", ".csv", ".npy"):  # without the matrix, there is no output yet
                growing.with_suffix(suffix).replace(output.with_suffix(suffix))
    logger.info("%s: %d features of %d dimensions", output, joined["rows"], joined["dim"])


def is_complete(output: Path, record: Record) -> bool:
    """Whether the output is there already; raises ValueError if it is of others or unfinished."""
    if not output.is_file():
        return False
    found = read_record(output)
    check_same_record(output, found, record)
    check_complete(output, found)
    logger.info("%s is already complete: %d images", output, record["images"])
    return True


def _append_shard(file: FeatureFile, shard: Path, bad_images: Sequence[str]) -> None:
    matrix, samples = map_npy(shard, "r"), SampleTable([csv_of(shard)])
    check_matrix_shape(shard, matrix, len(samples))
    for start in range(0, len(matrix), ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        file.append(torch.from_numpy(np.array(matrix[rows])), samples[rows])
    file.append(torch.empty(0, matrix.shape[1]), [], bad_images)

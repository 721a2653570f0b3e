"""Inverted files of product codes, whose lists of rows may lie on the disk (with faiss)."""

from __future__ import annotations

import logging
import math
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from processor.search.feature_rows import FeatureRows

logger = logging.getLogger(__name__)

Rows = np.ndarray | FeatureRows

DIMENSIONS_PER_CODE = 8  # of a feature, quantized to one byte
LISTS_PER_ROOT = 2  # lists of N rows, divided by the root of N
ROWS_PER_LIST = 64  # for training; faiss requires 39
ROWS_FOR_BYTES = 2**14  # for training 256 codes; fewer rows get codes of 4 bits
ITERATIONS = 10  # of k-means
LISTS_PER_PROBE = 8  # a query looks into one of 8 lists
ROWS_PER_BLOCK = 2**16  # read and added at a time
ROWS_PER_PART = 2**22  # whose codes are in memory before they are written to the disk
PARTS = ".parts"


@dataclass(frozen=True, slots=True)
class Plan:
    """The shape of an inverted file.

    Attributes:
        num_lists: about twice the root of the number of rows.
        num_codes: numbers per row.
        bits: of a number, 8 or 4.
        num_training: rows to train on.
    """

    num_lists: int
    num_codes: int
    bits: int
    num_training: int

    @classmethod
    def of(cls, num_rows: int, dim: int) -> Plan:
        """The plan for a gallery (N, D)."""
        wanted = LISTS_PER_ROOT * math.isqrt(num_rows)
        num_lists = max(1, min(wanted, num_rows // ROWS_PER_LIST))
        most = max(dim // DIMENSIONS_PER_CODE, 1)
        num_codes = max(m for m in range(1, most + 1) if dim % m == 0)
        num_training = min(num_rows, max(ROWS_FOR_BYTES, ROWS_PER_LIST * num_lists))
        return cls(num_lists, num_codes, 8 if num_rows >= ROWS_FOR_BYTES else 4, num_training)

    @property
    def factory(self) -> str:
        """In the words of faiss: a rotation, lists, codes (Ge et al., CVPR 2013)."""
        codes = f"PQ{self.num_codes}" + ("" if self.bits == 8 else f"x{self.bits}")
        return f"OPQ{self.num_codes},IVF{self.num_lists},{codes}"


def train(faiss: ModuleType, features: Rows) -> Any:
    """An empty index, trained on evenly spaced rows."""
    num_rows, dim = features.shape
    plan = Plan.of(num_rows, dim)
    index = faiss.index_factory(dim, plan.factory)
    lists = faiss.downcast_index(faiss.extract_index_ivf(index))
    lists.cp.niter = lists.pq.cp.niter = ITERATIONS
    lists.nprobe = max(1, plan.num_lists // LISTS_PER_PROBE)
    places = np.linspace(0, num_rows - 1, plan.num_training).astype(np.int64)
    logger.info("training an index of %d lists on %d rows", plan.num_lists, len(places))
    index.train(np.ascontiguousarray(features[places]))
    return index


def add_in_memory(index: Any, features: Rows) -> None:
    """Add all rows."""
    for rows in _blocks(0, len(features)):
        index.add(np.ascontiguousarray(features[rows]))


def add_on_disk(
    faiss: ModuleType,
    index: Any,
    features: Rows,
    lists: Path,
    seen: Callable[[np.ndarray], object],
) -> None:
    """Add all rows part by part, and leave the lists in a file, where searches read them.

    Args:
        faiss: the module.
        index: trained and empty.
        features: (N, D).
        lists: the file to write, in a folder that exists.
        seen: called with every block of rows.
    """
    from faiss.contrib.ondisk import merge_ondisk

    folder = lists.with_name(f"{lists.name}{PARTS}")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        parts = []
        for start in range(0, len(features), ROWS_PER_PART):
            part = faiss.clone_index(index)
            stop = min(start + ROWS_PER_PART, len(features))
            for rows in _blocks(start, stop):
                block = np.ascontiguousarray(features[rows])
                seen(block)
                part.add_with_ids(block, np.arange(rows.start, rows.stop, dtype=np.int64))
            parts.append(str(folder / f"{start}.faiss"))
            faiss.write_index(part, parts[-1])
            logger.info("index: %d of %d rows", stop, len(features))
        merge_ondisk(index, parts, str(lists))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _blocks(start: int, stop: int) -> Iterator[slice]:
    for first in range(start, stop, ROWS_PER_BLOCK):
        yield slice(first, min(first + ROWS_PER_BLOCK, stop))

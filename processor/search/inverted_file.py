"""Inverted files of product codes (with faiss)."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from types import ModuleType
from typing import Any

import numpy as np
import torch

from processor.metrics.checks import check_finite
from processor.search.feature_rows import FeatureRows

logger = logging.getLogger(__name__)

DIMENSIONS_PER_BIT = 2  # of a feature: 16 are quantized to a byte
LISTS_PER_ROOT = 2  # lists of N rows, divided by the root of N
ROWS_PER_LIST = 64  # for training; faiss requires 39
ROWS_FOR_ROTATION = 2**16
ROWS_FOR_BYTES = 2**14  # for training 256 codes; fewer rows get codes of 4 bits
ITERATIONS = 10  # of k-means
PROBES_PER_ROOT = 6  # lists a query looks into, divided by the root of their number
ROWS_PER_BLOCK = 2**16  # read and added at a time
ROWS_PER_LINE = 2**22  # of the log


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
        bits = 8 if num_rows >= ROWS_FOR_BYTES else 4
        most = max(dim // (DIMENSIONS_PER_BIT * bits), 1)
        num_codes = max(m for m in range(1, most + 1) if dim % m == 0)
        num_training = min(num_rows, max(ROWS_FOR_BYTES, ROWS_PER_LIST * num_lists))
        return cls(num_lists, num_codes, bits, num_training)

    @property
    def num_probes(self) -> int:
        """Lists that a query looks into."""
        return min(self.num_lists, math.ceil(PROBES_PER_ROOT * math.sqrt(self.num_lists)))

    @property
    def factory(self) -> str:
        """In the words of faiss: a rotation if there are enough rows, lists, codes."""
        if self.bits == 4:
            return f"IVF{self.num_lists},PQ{self.num_codes}x4"
        return f"OPQ{self.num_codes},IVF{self.num_lists},PQ{self.num_codes}"


def train(faiss: ModuleType, features: FeatureRows) -> Any:
    """An empty index, trained on evenly spaced rows."""
    num_rows, dim = features.shape
    plan = Plan.of(num_rows, dim)
    index = faiss.index_factory(dim, plan.factory)
    lists = faiss.downcast_index(faiss.extract_index_ivf(index))
    lists.cp.niter = lists.pq.cp.niter = ITERATIONS
    lists.do_polysemous_training = False  # most of the time, for a search by Hamming distances
    lists.nprobe = plan.num_probes
    places = np.linspace(0, num_rows - 1, plan.num_training).astype(np.int64)
    logger.info("training an index of %d lists on %d rows", plan.num_lists, len(places))
    rows = features[places]
    check_finite("gallery_features", torch.from_numpy(rows))
    if plan.bits == 8:
        rotation = faiss.downcast_VectorTransform(index.chain.at(0))
        faiss.copy_array_to_vector(balanced_rotation(rows, plan.num_codes).ravel(), rotation.A)
        rotation.is_trained = True
    index.train(rows)
    return index


def balanced_rotation(rows: np.ndarray, num_codes: int) -> np.ndarray:
    """The rotation before product codes: principal components, dealt out to the codes.

    The parametric solution of optimized product quantization (Ge et al., TPAMI 2014, section 3.2):
    each component, the one of largest variance first, goes to the code whose variances have the
    smallest product so far, among the codes that are not full. In closed form, so much faster than
    the iterative solution, and as good where features are about normally distributed.

    Args:
        rows: (N, D) features.
        num_codes: M, a divisor of D.

    Returns:
        (D, D) float32, orthonormal rows; those of a code are consecutive.
    """
    rows = rows[:: -(-len(rows) // ROWS_FOR_ROTATION)]
    rows = rows - rows.mean(axis=0)
    dim = rows.shape[1]
    variances, components = np.linalg.eigh((rows.T @ rows / len(rows)).astype(np.float64))
    smallest = max(variances[-1] * np.finfo(np.float32).eps, np.finfo(np.float64).tiny)
    gains = np.log(variances.clip(min=smallest) / smallest)
    of_code: list[list[int]] = [[] for _ in range(num_codes)]
    totals = np.zeros(num_codes)
    for place in reversed(range(dim)):
        code = int(totals.argmin())
        of_code[code].append(place)
        totals[code] += gains[place]
        if len(of_code[code]) == dim // num_codes:
            totals[code] = np.inf
    order = [place for places in of_code for place in places]
    return np.ascontiguousarray(components.T[order], dtype=np.float32)


def add_rows(index: Any, features: FeatureRows) -> str:
    """Add all rows, block by block; returns the SHA-256 of the features.

    Raises:
        ValueError: features that are not finite.
    """
    digest = sha256()
    for rows in blocks(len(features)):
        block = features[rows]
        check_finite("gallery_features", torch.from_numpy(block), rows.start)
        digest.update(block.data)
        index.add(block)
        if rows.stop % ROWS_PER_LINE == 0:
            logger.info("index: %d of %d rows", rows.stop, len(features))
    return digest.hexdigest()


def blocks(num_rows: int) -> Iterator[slice]:
    """Consecutive rows that are read at a time."""
    for first in range(0, num_rows, ROWS_PER_BLOCK):
        yield slice(first, min(first + ROWS_PER_BLOCK, num_rows))

"""Search by a faiss index, for galleries that are searched many times."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from processor.metrics.distance import FeatureArray, check_features
from processor.runtime.files import atomic_file
from processor.search.exact import SPARE, Neighbours, nearest_of

logger = logging.getLogger(__name__)

INDEXES = ("flat", "ivfpq")
SMALLEST_GALLERY = 1_000
NUMBERS_PER_CODE = 8  # of a feature, which become one of 16 codes
ROWS_PER_LIST = 64  # to train on; faiss wants 39
ITERATIONS = 10  # of k-means
SHARE_OF_LISTS = 4  # one in so many is looked into
CANDIDATES = 50  # measured exactly, per neighbour asked for


def search_by_index(
    query_features: FeatureArray,
    gallery_features: FeatureArray,
    k: int,
    kind: str,
    file: Path | None = None,
) -> Neighbours:
    """Find the k nearest gallery rows of every query with faiss.

    The index only picks candidates; their distances are exact, as those of `search`. "flat"
    compares all rows. "ivfpq" looks into one in 4 lists of rows and compares codes of half a byte
    per 8 numbers (Jegou et al., 2011), so that it may miss neighbours.

    Args:
        query_features: (Q, D).
        gallery_features: (G, D).
        k: how many, clipped to G; "ivfpq" may find fewer, and gives row -1 at an infinite distance.
        kind: one of INDEXES.
        file: where an "ivfpq" index of these features is kept for the next search; one that is
            there already is used. None = nowhere.

    Raises:
        ValueError: faiss is not installed, an unknown kind, or too few rows for "ivfpq".
    """
    if kind not in INDEXES:
        raise ValueError(f"--index: {kind!r}; known: {', '.join(INDEXES)}")
    if k < 1:
        raise ValueError(f"k: expected at least 1, got {k}")
    faiss = _import_faiss(kind)
    query, gallery = (
        x.cpu().contiguous() for x in check_features(query_features, gallery_features)
    )
    k = min(k, len(gallery))
    if kind == "flat":
        index, wanted = faiss.IndexFlatL2(gallery.shape[1]), k + SPARE
        index.add(gallery.numpy())
    else:
        index, wanted = _open_coded_index(faiss, gallery, file), k * CANDIDATES
    _, candidates = index.search(query.numpy(), min(wanted, len(gallery)))
    return _measure_candidates(query, gallery, torch.from_numpy(candidates), k)


def _import_faiss(kind: str) -> ModuleType:
    logging.getLogger("faiss.loader").setLevel(logging.ERROR)  # tells which processor it is for
    try:
        import faiss
    except ImportError as error:
        raise ValueError(
            f"--index {kind} needs faiss: pip install faiss-cpu; without --index the search is "
            "exact and needs nothing"
        ) from error
    return faiss


def _open_coded_index(faiss: ModuleType, gallery: Tensor, file: Path | None) -> Any:
    """The index in the file if it is one of these rows, else a new one."""
    if file is not None and file.is_file():
        index = faiss.read_index(str(file))
        if (index.ntotal, index.d) == tuple(gallery.shape):
            logger.info("index %s", file)
            return index
        logger.info("index %s is of other features, it is made anew", file)
    if len(gallery) < SMALLEST_GALLERY:
        raise ValueError(
            f"--index ivfpq: {len(gallery):,} gallery images, it takes {SMALLEST_GALLERY:,} to "
            "train an index; leave --index out"
        )
    index = _train_coded_index(faiss, gallery.numpy())
    if file is not None:
        with atomic_file(file) as beside:
            faiss.write_index(index, str(beside))
        logger.info("index written to %s", file)
    return index


def _train_coded_index(faiss: ModuleType, gallery: np.ndarray) -> Any:
    """An inverted file of product codes, with about sqrt(G) lists."""
    num_rows, dim = gallery.shape
    num_lists = min(math.isqrt(num_rows), num_rows // ROWS_PER_LIST)
    num_codes = max(m for m in range(1, max(dim // NUMBERS_PER_CODE, 1) + 1) if dim % m == 0)
    index = faiss.index_factory(dim, f"IVF{num_lists},PQ{num_codes}x4fs")
    index.cp.niter = index.pq.cp.niter = ITERATIONS
    num_training = max(SMALLEST_GALLERY, ROWS_PER_LIST * num_lists)
    step = max(1, num_rows // num_training)
    logger.info("training an index of %d lists on %d rows", num_lists, len(gallery[::step]))
    index.train(np.ascontiguousarray(gallery[::step]))
    index.add(gallery)
    index.nprobe = max(1, num_lists // SHARE_OF_LISTS)
    return index


def _measure_candidates(query: Tensor, gallery: Tensor, candidates: Tensor, k: int) -> Neighbours:
    """The k nearest of the rows (Q, c) that an index found; -1 = none."""
    indices = torch.full((len(query), k), -1)
    distances = torch.full((len(query), k), torch.inf, dtype=torch.float64)
    for number, found in enumerate(candidates):
        rows, values = nearest_of(query[number], gallery, found[found >= 0], k)
        indices[number, : len(rows)], distances[number, : len(rows)] = rows, values
    return Neighbours(indices, distances)

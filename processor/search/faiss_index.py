"""Search with a faiss index, for galleries that are searched many times."""

from __future__ import annotations

import json
import logging
import math
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from processor.metrics.checks import FeatureArray, check_features
from processor.runtime.files import atomic_file, file_sha256, write_json
from processor.search.exact import SPARE, Neighbours, nearest_of

logger = logging.getLogger(__name__)

INDEXES = ("flat", "ivfpq")
SMALLEST_GALLERY = 1_000  # images that an index can be trained on
DIMENSIONS_PER_CODE = 8  # of a feature, quantized to one of 16 codes
ROWS_PER_LIST = 64  # for training; faiss requires 39
ITERATIONS = 10  # of k-means
LISTS_PER_PROBE = 4  # a query looks into one of 4 lists
CANDIDATES = 50  # measured exactly, per requested neighbour


class FaissIndex:
    """A gallery's index, which selects candidates; their distances are exact, as in `search`.

    "flat" compares all rows. "ivfpq" looks into a quarter of the lists of rows and compares codes
    of half a byte per 8 dimensions (Jegou et al., TPAMI 2011), so that it may miss neighbours.

    Args:
        gallery_features: (G, D).
        kind: one of INDEXES.
        file: stores an "ivfpq" index of these features; an existing one is used. None = no file.

    Raises:
        ValueError: faiss is not installed, an unknown kind, or too few rows for "ivfpq".
    """

    def __init__(self, gallery_features: FeatureArray, kind: str, file: Path | None = None) -> None:
        if kind not in INDEXES:
            raise ValueError(f"--index: {kind!r}; known: {', '.join(INDEXES)}")
        faiss = _import_faiss(kind)
        gallery, _ = check_features(gallery_features, gallery_features)
        self.kind = kind
        self._gallery = gallery.cpu().contiguous()
        if kind == "flat":
            self._index = faiss.IndexFlatL2(gallery.shape[1])
            self._index.add(self._gallery.numpy())
        else:
            self._index = _open_coded_index(faiss, self._gallery, file)

    def search(self, query_features: FeatureArray, k: int) -> Neighbours:
        """Find the k nearest gallery rows of every query.

        Args:
            query_features: (Q, D).
            k: number of rows, clipped to G; if "ivfpq" finds fewer, the rest are row -1 at distance
                infinity.

        Raises:
            ValueError: k below 1; empty, mismatched or non-finite features.
        """
        if k < 1:
            raise ValueError(f"k: expected at least 1, got {k}")
        query = check_features(query_features, self._gallery)[0].cpu().contiguous()
        k = min(k, len(self._gallery))
        wanted = k + SPARE if self.kind == "flat" else k * CANDIDATES
        _, candidates = self._index.search(query.numpy(), min(wanted, len(self._gallery)))
        return _measure_candidates(query, self._gallery, torch.from_numpy(candidates), k)


def _import_faiss(kind: str) -> ModuleType:
    logging.getLogger("faiss.loader").setLevel(logging.ERROR)  # logs the processor at import
    try:
        import faiss
    except ImportError as error:
        raise ValueError(
            f"--index {kind} needs faiss: pip install faiss-cpu; without --index the search is "
            "exact and does not need it"
        ) from error
    return faiss


def _open_coded_index(faiss: ModuleType, gallery: Tensor, file: Path | None) -> Any:
    """The index in the file if it was made of exactly these features, else a new one."""
    features = sha256(gallery.numpy().data).hexdigest() if file is not None else ""
    if file is not None and file.is_file():
        if _is_of(file, features):
            logger.info("index %s", file)
            return faiss.read_index(str(file))
        logger.info("index %s is damaged or belongs to other features, and is rebuilt", file)
    if len(gallery) < SMALLEST_GALLERY:
        raise ValueError(
            f"--index ivfpq: training an index takes {SMALLEST_GALLERY:,} gallery images, got "
            f"{len(gallery):,}; leave --index out"
        )
    index = _train_coded_index(faiss, gallery.numpy())
    if file is not None:
        with atomic_file(file) as partial:
            faiss.write_index(index, str(partial))
        write_json(_record_of(file), {"features": features, "index": file_sha256(file)})
        logger.info("index written to %s", file)
    return index


def _is_of(file: Path, features: str) -> bool:
    """Whether an index file is whole and was made from features of this hash.

    faiss itself trusts every length in a file, so a damaged one must not reach it.
    """
    try:
        record = json.loads(_record_of(file).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return bool(record == {"features": features, "index": file_sha256(file)})


def _record_of(file: Path) -> Path:
    return file.with_name(f"{file.name}.json")


def _train_coded_index(faiss: ModuleType, gallery: np.ndarray) -> Any:
    """An inverted file of product codes with about sqrt(G) lists."""
    num_rows, dim = gallery.shape
    num_lists = min(math.isqrt(num_rows), num_rows // ROWS_PER_LIST)
    num_codes = max(m for m in range(1, max(dim // DIMENSIONS_PER_CODE, 1) + 1) if dim % m == 0)
    index = faiss.index_factory(dim, f"IVF{num_lists},PQ{num_codes}x4fs")
    index.cp.niter = index.pq.cp.niter = ITERATIONS
    num_training = max(SMALLEST_GALLERY, ROWS_PER_LIST * num_lists)
    step = max(1, num_rows // num_training)
    logger.info("training an index of %d lists on %d rows", num_lists, len(gallery[::step]))
    index.train(np.ascontiguousarray(gallery[::step]))
    index.add(gallery)
    index.nprobe = max(1, num_lists // LISTS_PER_PROBE)
    return index


def _measure_candidates(query: Tensor, gallery: Tensor, candidates: Tensor, k: int) -> Neighbours:
    """The k nearest of the candidates (Q, c) of an index; -1 = none."""
    indices = torch.full((len(query), k), -1)
    distances = torch.full((len(query), k), torch.inf, dtype=torch.float64)
    for number, found in enumerate(candidates):
        rows, values = nearest_of(query[number], gallery, found[found >= 0], k)
        indices[number, : len(rows)], distances[number, : len(rows)] = rows, values
    return Neighbours(indices, distances)

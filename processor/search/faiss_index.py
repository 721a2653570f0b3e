"""Search with a faiss index, for galleries that are searched many times."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
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
from processor.search.feature_rows import FeatureRows
from processor.search.inverted_file import add_rows, blocks, train

logger = logging.getLogger(__name__)

INDEXES = ("flat", "ivfpq")
SMALLEST_GALLERY = 1_000  # images that an index can be trained on
CANDIDATES = 25  # measured exactly, per requested neighbour


class FaissIndex:
    """A gallery's index, which selects candidates; their distances are exact, as in `search`.

    "flat" compares all rows. "ivfpq" looks into few of the lists of rows and compares rotated codes
    of a byte per 16 dimensions (Jegou et al., TPAMI 2011; Ge et al., CVPR 2013), so that it may
    miss neighbours. Searches need little memory if index and features lie in files.

    Args:
        gallery_features: (G, D).
        kind: one of INDEXES.
        file: stores an "ivfpq" index of these features; an existing one is used. Its lists stay in
            the file. None = in memory.
        sources: the files that hold the features. While they are unchanged, an existing index is
            used without reading the features.

    Raises:
        ValueError: faiss is not installed, an unknown kind, too few rows for "ivfpq", or features
            that are not finite.
    """

    def __init__(
        self,
        gallery_features: FeatureArray | FeatureRows,
        kind: str,
        file: Path | None = None,
        sources: Sequence[Path] = (),
    ) -> None:
        if kind not in INDEXES:
            raise ValueError(f"--index: {kind!r}; known: {', '.join(INDEXES)}")
        faiss = _import_faiss(kind)
        self.kind = kind
        self._gallery: Tensor | FeatureRows
        if kind == "flat":
            given = torch.as_tensor(np.asarray(gallery_features))
            self._gallery = check_features(given, given)[0].cpu().contiguous()
            self._index = faiss.IndexFlatL2(self._gallery.shape[1])
            self._index.add(self._gallery.numpy())
        else:
            if not isinstance(gallery_features, FeatureRows):
                gallery_features = FeatureRows([torch.as_tensor(gallery_features).cpu().numpy()])
            self._gallery = gallery_features
            self._index = _open_index(faiss, gallery_features, file, sources)

    def search(self, query_features: FeatureArray, k: int) -> Neighbours:
        """Find the k nearest gallery rows of every query.

        Args:
            query_features: (Q, D).
            k: number of rows, clipped to G; if "ivfpq" finds fewer, the rest are row -1 at distance
                infinity.

        Raises:
            ValueError: k below 1; empty, mismatched or non-finite features; a damaged index.
        """
        if k < 1:
            raise ValueError(f"k: expected at least 1, got {k}")
        query = check_features(query_features, self._gallery[:1])[0].cpu().contiguous()
        k = min(k, len(self._gallery))
        wanted = k + SPARE if self.kind == "flat" else k * CANDIDATES
        _, candidates = self._index.search(query.numpy(), min(wanted, len(self._gallery)))
        if candidates.max(initial=-1) >= len(self._gallery):
            raise ValueError("the index is damaged: it names rows that the gallery does not have")
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


def _open_index(
    faiss: ModuleType,
    features: FeatureRows,
    file: Path | None,
    sources: Sequence[Path],
) -> Any:
    """The index in the file if it was made of exactly these features, else a new one."""
    if file is not None and file.is_file():
        if _is_of(file, features, sources):
            logger.info("index %s", file)
            return faiss.read_index(str(file), faiss.IO_FLAG_MMAP)  # its lists stay in the file
        logger.info("index %s is damaged or belongs to other features, and is rebuilt", file)
    if len(features) < SMALLEST_GALLERY:
        raise ValueError(
            f"--index ivfpq: training an index takes {SMALLEST_GALLERY:,} gallery images, got "
            f"{len(features):,}; leave --index out"
        )
    index = train(faiss, features)
    digest = add_rows(index, features)
    if file is None:
        return index
    _record_of(file).unlink(missing_ok=True)
    with atomic_file(file) as partial:
        faiss.write_index(index, str(partial))
        written = file_sha256(partial)  # another process may replace the file at once
    _write_record(file, written, digest, sources)
    logger.info("index written to %s", file)
    return index


def _is_of(file: Path, features: FeatureRows, sources: Sequence[Path]) -> bool:
    """Whether an index file is whole and was made from these features.

    faiss itself trusts every length in a file, so a damaged one must not reach it.
    """
    try:
        record = json.loads(_record_of(file).read_text(encoding="utf-8"))
        index = file_sha256(file)
        if record["index"] != index:
            return False
        if sources and record["sources"] == _states(sources):
            return True
        same = bool(record["features"] == _hash_rows(features))
    except (OSError, ValueError, RecursionError, KeyError, TypeError):
        return False
    if same:
        _write_record(file, index, record["features"], sources)
    return same


def _write_record(file: Path, index: str, features: str, sources: Sequence[Path]) -> None:
    """Say what an index, of this SHA-256, was made of; it is used only together with this."""
    record = {
        "features": features,
        "sources": _states(sources),
        "index": index,
    }
    write_json(_record_of(file), record)


def _states(sources: Sequence[Path]) -> list[list[Any]]:
    """Name, size and time of the last change of files."""
    states = [(source.name, source.stat()) for source in sources]
    return [[name, state.st_size, state.st_mtime_ns] for name, state in states]


def _hash_rows(features: FeatureRows) -> str:
    digest = sha256()
    for rows in blocks(len(features)):
        digest.update(features[rows].data)
    return digest.hexdigest()


def _record_of(file: Path) -> Path:
    return file.with_name(f"{file.name}.json")


def _measure_candidates(
    query: Tensor, gallery: Tensor | FeatureRows, candidates: Tensor, k: int
) -> Neighbours:
    """The k nearest of the candidates (Q, c) of an index; -1 = none."""
    indices = torch.full((len(query), k), -1)
    distances = torch.full((len(query), k), torch.inf, dtype=torch.float64)
    for number, found in enumerate(candidates):
        rows, values = nearest_of(query[number], gallery, found[found >= 0], k)
        indices[number, : len(rows)], distances[number, : len(rows)] = rows, values
    return Neighbours(indices, distances)

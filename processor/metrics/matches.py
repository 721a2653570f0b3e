"""Which gallery images are of a query's identity, and which of them count."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from processor.metrics.distance import block_mb, chunk_slices

IdArray: TypeAlias = Tensor | np.ndarray | Sequence[int]

BYTES_PER_CANDIDATE = 200  # what ranking needs per gallery image of the query's own identity


@dataclass(frozen=True, slots=True)
class Identities:
    """The four id arrays, int64."""

    query_pids: np.ndarray
    gallery_pids: np.ndarray
    query_camids: np.ndarray
    gallery_camids: np.ndarray

    @classmethod
    def check(cls, *given: IdArray) -> Identities:
        checked: list[np.ndarray] = []
        for name, values in zip(cls.__slots__, given, strict=True):
            array = values.cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
            if array.dtype.kind == "f" and bool((array == np.floor(array)).all()):
                array = array.astype(np.int64)
            if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
                raise ValueError(
                    f"{name}: expected one integer per image, got {array.dtype} {array.shape}"
                )
            checked.append(array.astype(np.int64))
        return cls(*checked)

    def check_lengths(self, num_query: int, num_gallery: int) -> None:
        for name in self.__slots__:
            side = name.split("_")[0]
            expected = num_gallery if side == "gallery" else num_query
            length = len(getattr(self, name))
            if length != expected:
                raise ValueError(f"{name}: {length} entries for {expected} {side} images")


@dataclass(frozen=True, slots=True)
class ChunkCandidates:
    """Gallery images of each query's identity for c queries, padded to M columns."""

    positions: np.ndarray  # (c, M) place in the gallery, ascending within a row
    present: np.ndarray  # (c, M) bool, False = padding
    junk: np.ndarray  # (c, M) bool, same camera as the query and to be dropped

    def has_match(self) -> bool:
        return bool((self.present & ~self.junk).any())


@dataclass(frozen=True, slots=True)
class Candidates:
    """Where each query's identity stands in the gallery."""

    ids: Identities
    ignore_same_camera: bool
    by_pid: np.ndarray  # (G,) gallery positions grouped by pid, ascending within one
    starts: np.ndarray  # (Q,) first place in by_pid
    counts: np.ndarray  # (Q,)

    @classmethod
    def find(cls, ids: Identities, *, ignore_same_camera: bool) -> Candidates:
        by_pid = ids.gallery_pids.argsort(kind="stable")
        grouped = ids.gallery_pids[by_pid]
        starts = np.searchsorted(grouped, ids.query_pids)
        counts = np.searchsorted(grouped, ids.query_pids, side="right") - starts
        return cls(ids, ignore_same_camera, by_pid, starts, counts)

    def slices(
        self, bytes_per_distance: int, chunk_mb: float, device: torch.device
    ) -> Iterator[slice]:
        """Query rows of blocks of distances that fit `chunk_mb` with what ranking them takes."""
        per_gallery_image = bytes_per_distance + 4  # the distance and its cell
        widest = int(self.counts.max())
        per_query = len(self.by_pid) * per_gallery_image + widest * BYTES_PER_CANDIDATE
        return chunk_slices(len(self.starts), per_query, block_mb(per_query, chunk_mb, device))

    def chunk(self, rows: slice) -> ChunkCandidates:
        counts = self.counts[rows, None]
        columns = np.arange(counts.max())
        places = np.minimum(self.starts[rows, None] + columns, len(self.by_pid) - 1)
        positions = self.by_pid[places]
        present = columns < counts
        junk = np.zeros_like(present)
        if self.ignore_same_camera:
            same = self.ids.gallery_camids[positions] == self.ids.query_camids[rows, None]
            junk = present & same
        return ChunkCandidates(positions, present, junk)


def explain_no_match(candidates: Candidates) -> str:
    """Why no query has a match, and what to set."""
    ids = candidates.ids
    if not bool(candidates.counts.any()):
        return (
            f"0 of {len(ids.query_pids)} queries have a match: no query identity occurs in the "
            f"gallery; pids in the query {_preview(ids.query_pids)}, in the gallery "
            f"{_preview(ids.gallery_pids)}; both sides have to come from the same dataset"
        )
    return (
        f"0 of {len(ids.query_pids)} queries have a gallery image of the same identity from "
        f"another camera; cameras in the query {_preview(ids.query_camids)}, in the gallery "
        f"{_preview(ids.gallery_camids)}; set TEST.IGNORE_SAME_CAMERA False or give camera ids"
    )


def _preview(ids: np.ndarray, limit: int = 10) -> str:
    distinct = np.unique(ids)
    shown = ", ".join(str(i) for i in distinct[:limit])
    return "{" + shown + (", ..." if len(distinct) > limit else "") + "}"

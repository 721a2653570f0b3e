"""The junk rule: a gallery image with the query's pid and the query's camid does not count.

It is neither right nor wrong and leaves the query's ranking, as on Market-1501 (Zheng et al., ICCV
2015) and every benchmark since. `TEST.IGNORE_SAME_CAMERA False` switches it off. The query's own
image, where it is in the gallery as well, never counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from processor.metrics.identities import Identities
from processor.metrics.working_memory import WorkingMemory

BYTES_PER_CANDIDATE = 200  # that ranking takes per gallery image of the query's own identity


def is_junk(ids: Identities, rows: slice, positions: np.ndarray) -> np.ndarray:
    """Apply the junk rule to gallery images of the queries' own identities.

    Args:
        ids: of both sides.
        rows: c of the queries.
        positions: (c, M) gallery images with the pid of the query.

    Returns:
        (c, M) bool.
    """
    junk = np.zeros(positions.shape, dtype=bool)
    if ids.ignore_same_camera:
        junk |= ids.gallery_camids[positions] == ids.query_camids[rows, None]
    if ids.own_places is not None:
        junk |= positions == ids.own_places[rows, None]
    return junk


@dataclass(frozen=True, slots=True)
class ChunkCandidates:
    """Gallery images of the queries' own identities for c queries, padded to M columns."""

    positions: np.ndarray  # (c, M) in the gallery, ascending within a row
    present: np.ndarray  # (c, M) bool, False = padding
    junk: np.ndarray  # (c, M) bool, dropped by the junk rule

    @property
    def match(self) -> np.ndarray:
        """(c, M) bool: the images that count as right."""
        return self.present & ~self.junk


@dataclass(frozen=True, slots=True)
class Candidates:
    """For every query the gallery images of its identity, matches and junk."""

    ids: Identities
    by_pid: np.ndarray  # (G,) gallery positions grouped by pid, ascending within a group
    starts: np.ndarray  # (Q,) start of the query's group in by_pid
    counts: np.ndarray  # (Q,) size of the group

    @classmethod
    def find(cls, ids: Identities) -> Candidates:
        """Group the gallery by pid."""
        by_pid = ids.gallery_pids.argsort(kind="stable")
        grouped = ids.gallery_pids[by_pid]
        starts = np.searchsorted(grouped, ids.query_pids)
        counts = np.searchsorted(grouped, ids.query_pids, side="right") - starts
        return cls(ids, by_pid, starts, counts)

    def blocks(self, bytes_per_distance: int, memory: WorkingMemory) -> Iterator[slice]:
        """Query rows of distance blocks that fit the memory together with their ranking."""
        per_gallery_image = bytes_per_distance + 4  # the distance and its cell
        widest = int(self.counts.max())
        per_query = len(self.by_pid) * per_gallery_image + widest * BYTES_PER_CANDIDATE
        return memory.blocks(len(self.starts), per_query)

    def chunk(self, rows: slice) -> ChunkCandidates:
        """The candidates of some queries."""
        counts = self.counts[rows, None]
        columns = np.arange(counts.max())
        places = np.minimum(self.starts[rows, None] + columns, len(self.by_pid) - 1)
        positions = self.by_pid[places]
        present = columns < counts
        return ChunkCandidates(positions, present, present & is_junk(self.ids, rows, positions))


def count_valid_queries(ids: Identities) -> int:
    """Number of queries that have a match in the gallery after the junk rule.

    Raises:
        ValueError: no query has one; says why and what to set.
    """
    if not len(ids.query_pids) or not len(ids.gallery_pids):
        raise ValueError(f"{len(ids.query_pids)} queries, {len(ids.gallery_pids)} gallery images")
    candidates = Candidates.find(ids)
    bytes_per_row = BYTES_PER_CANDIDATE * max(1, int(candidates.counts.max()))
    chunks = map(candidates.chunk, WorkingMemory(64).chunks(len(ids.query_pids), bytes_per_row))
    count = sum(int(chunk.match.any(axis=1).sum()) for chunk in chunks)
    if not count:
        raise ValueError(explain_no_match(candidates))
    return count


def explain_no_match(candidates: Candidates) -> str:
    """Why no query has a match, and what to set."""
    ids = candidates.ids
    pids = [_preview(side, ids.pid_names) for side in (ids.query_pids, ids.gallery_pids)]
    cameras = [_preview(side, ids.camid_names) for side in (ids.query_camids, ids.gallery_camids)]
    if not bool(candidates.counts.any()):
        return (
            f"0 of {len(ids.query_pids)} queries have a match: no query identity occurs in the "
            f"gallery; pids in the query {pids[0]}, in the gallery {pids[1]}; both sides have to "
            "come from the same dataset"
        )
    return (
        f"0 of {len(ids.query_pids)} queries have a gallery image of the same identity from "
        f"another camera; cameras in the query {cameras[0]}, in the gallery {cameras[1]}; "
        "set TEST.IGNORE_SAME_CAMERA False or give camera ids"
    )


def _preview(ids: np.ndarray, names: Mapping[int, str], limit: int = 10) -> str:
    distinct = np.unique(ids)
    shown = ", ".join(names.get(i, str(i)) for i in distinct[:limit].tolist())
    return "{" + shown + (", ..." if len(distinct) > limit else "") + "}"

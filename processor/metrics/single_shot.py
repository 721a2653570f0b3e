"""CMC over galleries of one random image per identity: CUHK03's classic protocol."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from processor.metrics.distance import DistanceSource
from processor.metrics.identities import Identities
from processor.metrics.junk_rule import Candidates, ChunkCandidates, explain_no_match
from processor.metrics.working_memory import WorkingMemory

NUM_REPEATS = 100  # galleries drawn
SEED = 0  # of the draws
BYTES_PER_DRAW = 16  # that ranking takes per image that a query is compared with or drawn from


@torch.no_grad()
def single_gallery_shot_cmc(
    distances: DistanceSource,
    ids: Identities,
    memory: WorkingMemory,
    *,
    max_rank: int = 50,
    num_repeats: int = NUM_REPEATS,
) -> np.ndarray:
    """Mean CMC over random galleries that hold one image of every gallery identity.

    The classic protocol of CUHK03 (Li et al., CVPR 2014). A repeat shuffles the gallery and keeps
    the first image of every identity; of the query's own identity, the first one that is not junk
    for this query. All queries share the shuffles of a repeat. Images of one pid are one identity,
    distractors too. Equal distances rank in gallery order. Queries without a match in the whole
    gallery do not count, as for mAP and mINP, which stay those of the whole gallery: no protocol
    defines them otherwise.

    The shuffles take 1.6 kB per gallery image at 100 repeats, on top of the working memory.

    Args:
        distances: computes the blocks of the given query rows.
        ids: of Q queries and G gallery images of I identities.
        memory: for one block of queries.
        max_rank: length of the curve, clipped to the identities.
        num_repeats: galleries drawn, R.

    Returns:
        (min(max_rank, I),) float64, share of queries and repeats with the match in the first r.

    Raises:
        ValueError: blocks of other shapes than `ids`, max_rank or num_repeats below 1, no query
            with a match.
    """
    for name, number in (("max_rank", max_rank), ("num_repeats", num_repeats)):
        if number < 1:
            raise ValueError(f"{name}: expected at least 1, got {number}")
    candidates = Candidates.find(ids)
    if not candidates.counts.any():
        raise ValueError(explain_no_match(candidates))
    galleries = DrawnGalleries.draw(ids.gallery_pids, num_repeats)
    num_query, num_gallery, num_pids = len(ids.query_pids), len(ids.gallery_pids), galleries.size
    draws = num_repeats * (num_pids + int(candidates.counts.max()))
    slices = memory.chunks(num_query, 16 * num_gallery + BYTES_PER_DRAW * draws)
    queries_at = np.zeros(num_pids + 1, dtype=np.int64)  # with their match at rank 0, 1, .. I
    for block in distances(slices):
        block.check_shape(num_gallery)
        chunk = candidates.chunk(block.rows)
        if chunk.match.any():
            ranks = _rank(block.values.cpu().numpy(), chunk, ids.query_pids[block.rows], galleries)
            queries_at += np.bincount(ranks.ravel(), minlength=num_pids + 1)
    if not queries_at.any():
        raise ValueError(explain_no_match(candidates))
    return queries_at.cumsum()[1 : max_rank + 1] / queries_at.sum()


@dataclass(frozen=True, slots=True)
class DrawnGalleries:
    """R random orders of the gallery, and the first image of every identity in each."""

    order: np.ndarray  # (R, G) gallery positions
    place: np.ndarray  # (R, G) place of every gallery position in the order
    pids: np.ndarray  # (I,) identities, ascending
    positions: np.ndarray  # (R, I) gallery position of their first images

    @property
    def size(self) -> int:
        """I."""
        return len(self.pids)

    @classmethod
    def draw(cls, gallery_pids: np.ndarray, num_repeats: int) -> DrawnGalleries:
        """Shuffle (G,) identities; more repeats begin with the same ones."""
        # sorts raw numbers: NumPy keeps these between versions, but not its permutations
        keys = np.random.PCG64(SEED).random_raw((num_repeats, len(gallery_pids)))
        order = keys.argsort(axis=1, kind="stable")
        place = order.argsort(axis=1)
        by_pid = gallery_pids.argsort(kind="stable")
        pids, starts = np.unique(gallery_pids[by_pid], return_index=True)
        first = np.minimum.reduceat(place[:, by_pid], starts, axis=1)
        return cls(order, place, pids, np.take_along_axis(order, first, axis=1))


def _rank(
    distances: np.ndarray, chunk: ChunkCandidates, query_pids: np.ndarray, galleries: DrawnGalleries
) -> np.ndarray:
    """Rank of the match in every drawn gallery, for the v valid queries of a chunk.

    Args:
        distances: (c, G).
        chunk: candidates of the c queries.
        query_pids: (c,).
        galleries: R of them.

    Returns:
        (v, R) int64, from 1.
    """
    valid = chunk.match.any(axis=1)
    distances, match, positions = distances[valid], chunk.match[valid], chunk.positions[valid]
    num_gallery = distances.shape[1]
    first = np.where(match, galleries.place[:, positions], num_gallery).min(axis=2)  # (R, v)
    own = np.take_along_axis(galleries.order, first, axis=1).T
    own_distances = np.take_along_axis(distances, own, axis=1)[:, :, None]
    drawn = distances.take(galleries.positions, axis=1)  # (v, R, I)
    before = drawn == own_distances
    before &= galleries.positions < own[:, :, None]
    before |= drawn < own_distances
    # `own` replaces the drawn image of its identity, which may be junk for this query
    column = np.searchsorted(galleries.pids, query_pids[valid])
    before[np.arange(len(column)), :, column] = False
    return before.sum(axis=2) + 1

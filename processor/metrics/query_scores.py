"""Average precision and inverse negative penalty of single queries."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from processor.metrics.junk_rule import ChunkCandidates
from processor.metrics.ordering import EntryCounter


@dataclass(frozen=True, slots=True)
class QueryScores:
    """Scores of the v queries of a chunk that have a match."""

    valid: np.ndarray  # (c,) bool, True for these v queries
    first_match: np.ndarray  # (v,) rank of the first match, from 1
    average_precision: np.ndarray  # (v,)
    inverse_penalty: np.ndarray  # (v,) number of matches / rank of the last match


def score_queries(distances: Tensor, chunk: ChunkCandidates, counter: EntryCounter) -> QueryScores:
    """AP = mean over the matches of (matches up to it / its rank); junk takes no rank.

    INP is that of Ye et al., Deep Learning for Person Re-identification, TPAMI 2021.

    Args:
        distances: (c, G).
        chunk: candidates of the c queries with at least one match.
        counter: kept from chunk to chunk.
    """
    own = torch.from_numpy(chunk.positions).to(distances.device)
    values = distances.gather(1, own).cpu().numpy()
    values[~chunk.present] = np.inf
    nearest_first = values.argsort(axis=1, kind="stable")
    values, positions, junk, present = (
        np.take_along_axis(array, nearest_first, axis=1)
        for array in (values, chunk.positions, chunk.junk, chunk.present)
    )
    before = counter.entries_before(distances, values, positions)
    rank = before - junk.cumsum(axis=1) + 1  # from 1, junk left out; meaningful at matches only
    match = present & ~junk
    valid = match.any(axis=1)
    rank, match = rank[valid], match[valid]
    num_matches = match.sum(axis=1)
    precision = np.divide(match.cumsum(axis=1), rank, out=np.zeros(rank.shape), where=match)
    return QueryScores(
        valid=valid,
        first_match=np.where(match, rank, distances.shape[1]).min(axis=1),
        average_precision=precision.sum(axis=1) / num_matches,
        inverse_penalty=num_matches / np.where(match, rank, 0).max(axis=1),
    )

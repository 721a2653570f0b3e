"""The nearest gallery images of every query, exactly, in blocks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from processor.metrics.distance import (
    FeatureArray,
    add_products,
    block_mb,
    bytes_per_distance,
    check_features,
    check_finite,
    chunk_slices,
    full_precision,
)

GALLERY_ROWS = 2**16  # compared at once; what is kept of them is k per query
SPARE = 16  # of them that are looked at besides, for what rounding may have left behind
ROWS_AT_ONCE = 1024  # measured again at once
ROUNDING = 2.0**-23  # of a float32 number, twice


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The nearest gallery images of each query, nearest first.

    Attributes:
        indices: (Q, k) long, rows of the gallery; of equal distances the lower row comes first.
        distances: (Q, k) float64, Euclidean.
    """

    indices: Tensor
    distances: Tensor


@torch.no_grad()
def search(
    query_features: FeatureArray, gallery_features: FeatureArray, k: int, *, chunk_mb: float = 256
) -> Neighbours:
    """Find the k nearest gallery rows of every query, as a full sort would.

    Products in float32, as in an evaluation, pick every row that can be among the nearest within
    their rounding error; those are measured in float64. So copies of an image have equal distances,
    and the image itself has distance 0.

    Args:
        query_features: (Q, D), any float type.
        gallery_features: (G, D); may be mapped from a file, of which a part is read at a time.
        k: how many, clipped to G.
        chunk_mb: MiB of working memory for one block of distances.

    Raises:
        ValueError: k below 1; empty, mismatched or non-finite features.
    """
    if k < 1:
        raise ValueError(f"k: expected at least 1, got {k}")
    query, gallery = check_features(query_features, gallery_features)
    gallery, k = gallery.contiguous(), min(k, len(gallery))
    best = Neighbours(
        torch.empty(len(query), 0, dtype=torch.long), torch.empty(len(query), 0).double()
    )
    for start in range(0, len(gallery), GALLERY_ROWS):
        part = gallery[start : start + GALLERY_ROWS]
        found = _search_part(query, part, min(k, len(part)), chunk_mb)
        best = _merge(best, Neighbours(found.indices + start, found.distances), k)
    return best


def nearest_of(query: Tensor, gallery: Tensor, rows: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k nearest of some rows of the gallery to a (D,) query, and their distances."""
    rows = rows.sort().values  # so that of equal distances the lower row comes first
    distances = _measure(query, gallery, rows)
    order = distances.argsort(stable=True)[:k]
    return rows.cpu()[order], distances[order]


def _measure(query: Tensor, gallery: Tensor, rows: Tensor) -> Tensor:
    """Distances of a (D,) query to `rows` (n,) of the gallery: (n,) float64 on the CPU."""
    wide = query.cpu().double().numpy()
    parts = [
        np.linalg.norm(_take_rows(gallery, part) - wide, axis=1)
        for part in rows.split(ROWS_AT_ONCE)
    ]
    return torch.from_numpy(np.concatenate(parts))


def _take_rows(features: Tensor, rows: Tensor) -> np.ndarray:
    """(n, D) float32; by NumPy on a CPU, as torch wakes its threads for the smallest work."""
    if features.device.type == "cpu":
        return features.numpy()[rows.numpy()]
    return features[rows].cpu().numpy()


def _search_part(query: Tensor, gallery: Tensor, k: int, chunk_mb: float) -> Neighbours:
    """As `search`, of a part of the gallery with at least k rows."""
    lengths, gallery_lengths = _lengths(query), _lengths(gallery)
    # The scalar products in |q|^2 + |g|^2 - 2 q.g are off by at most D roundings of |q| |g| each
    # (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1).
    slack = ROUNDING * (query.shape[1] + 4) * (lengths + gallery_lengths.max()).square()
    bytes_per_row = bytes_per_distance(query.device) * len(gallery)
    most_mb = block_mb(bytes_per_row, chunk_mb, query.device)
    indices = torch.empty(len(query), k, dtype=torch.long)
    distances = torch.empty(len(query), k, dtype=torch.float64)
    for rows in chunk_slices(len(query), bytes_per_row, most_mb):
        squares = query.new_empty(rows.stop - rows.start, len(gallery))
        with full_precision(query.device):
            row_term = lengths[rows, None].square()
            add_products(-2 * query[rows], gallery, row_term, gallery_lengths.square(), squares)
        check_finite("distances", squares, rows.start)
        nearest = squares.topk(min(k + SPARE, len(gallery)), largest=False)
        limits = nearest.values[:, k - 1] + slack[rows]
        for number, limit in enumerate(limits):
            near = nearest.indices[number][nearest.values[number] <= limit]
            if len(near) == nearest.indices.shape[1]:  # there may be more, such as copies
                near = (squares[number] <= limit).nonzero().flatten()
            row = rows.start + number
            indices[row], distances[row] = nearest_of(query[row], gallery, near, k)
    return Neighbours(indices, distances)


def _lengths(features: Tensor) -> Tensor:
    return torch.linalg.vector_norm(features, dim=1)


def _merge(first: Neighbours, second: Neighbours, k: int) -> Neighbours:
    """The k nearest of both; rows of the first count as lower."""
    indices = torch.cat([first.indices, second.indices], dim=1)
    distances = torch.cat([first.distances, second.distances], dim=1)
    order = distances.argsort(dim=1, stable=True)[:, :k]
    return Neighbours(indices.gather(1, order), distances.gather(1, order))

"""Exact nearest-neighbour search, block by block."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from processor.metrics.checks import FeatureArray, check_features, check_finite
from processor.metrics.products import add_products
from processor.metrics.working_memory import WorkingMemory
from processor.runtime.float32 import full_precision
from processor.search.feature_rows import FeatureRows

GALLERY_ROWS = 2**16  # compared at a time
SPARE = 16  # candidates beyond k, which float32 rounding may have misplaced
ROWS_AT_ONCE = 1024  # measured at a time in float64
ROUNDING = 2.0**-23  # twice the relative rounding error of a float32 number


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The nearest gallery images of each query, nearest first.

    Attributes:
        indices: (Q, k) long, rows of the gallery; of equal distances the lower row comes first.
        distances: (Q, k) float64, Euclidean.
    """

    indices: Tensor
    distances: Tensor

    def within(self, threshold: float) -> Neighbours:
        """The neighbours up to a distance; the others become row -1 at infinite distance."""
        far = self.distances > threshold
        return Neighbours(
            self.indices.masked_fill(far, -1), self.distances.masked_fill(far, torch.inf)
        )


@torch.no_grad()
def search(
    query_features: FeatureArray,
    gallery_features: FeatureArray | FeatureRows,
    k: int,
    memory: WorkingMemory | None = None,
) -> Neighbours:
    """Find the k nearest gallery rows of every query, as a full sort would.

    Float32 products, as in an evaluation, select every row that may be among the nearest within
    their rounding error; these are measured in float64. So copies of an image have equal distances,
    and the image itself has distance 0.

    Args:
        query_features: (Q, D), any float type.
        gallery_features: (G, D); may be memory-mapped, and is then read part by part.
        k: number of rows, clipped to G.
        memory: for one block of distances; default: 256 MiB on the query's device.

    Raises:
        ValueError: k below 1; empty, mismatched or non-finite features.
    """
    if k < 1:
        raise ValueError(f"k: expected at least 1, got {k}")
    gallery: Tensor | FeatureRows
    if isinstance(gallery_features, FeatureRows):
        gallery = gallery_features
        query, _ = check_features(query_features, gallery[:1])
    else:
        query, gallery = check_features(query_features, gallery_features)
        gallery = gallery.contiguous()
    memory = memory or WorkingMemory(256, query.device)
    k = min(k, len(gallery))
    best = Neighbours(
        torch.empty(len(query), 0, dtype=torch.long), torch.empty(len(query), 0).double()
    )
    for start in range(0, len(gallery), GALLERY_ROWS):
        part = gallery[start : start + GALLERY_ROWS]
        if isinstance(part, np.ndarray):  # read from its files just now
            _, part = check_features(query, part)
        found = _search_part(query, part, min(k, len(part)), memory)
        best = _merge(best, Neighbours(found.indices + start, found.distances), k)
    return best


def nearest_of(
    query: Tensor, gallery: Tensor | FeatureRows, rows: Tensor, k: int
) -> tuple[Tensor, Tensor]:
    """The k rows nearest to a (D,) query among some rows of the gallery, and their distances.

    Query and rows are on the CPU, the gallery anywhere.
    """
    rows = rows.sort().values  # of equal distances the lower row comes first
    distances = _measure(query, gallery, rows)
    order = distances.argsort(stable=True)[:k]
    return rows[order], distances[order]


def _measure(query: Tensor, gallery: Tensor | FeatureRows, rows: Tensor) -> Tensor:
    """Distances of a (D,) query to `rows` (n,) of the gallery; (n,) float64 on the CPU."""
    wide = query.double().numpy()
    parts = [
        np.linalg.norm(_take_rows(gallery, part) - wide, axis=1)
        for part in rows.split(ROWS_AT_ONCE)
    ]
    return torch.from_numpy(np.concatenate(parts))


def _take_rows(features: Tensor | FeatureRows, rows: Tensor) -> np.ndarray:
    """(n, D) float32; on a CPU by NumPy, as torch starts its threads even for a few rows."""
    if isinstance(features, FeatureRows):
        return features[rows.numpy()]
    if features.device.type == "cpu":
        return features.numpy()[rows.numpy()]
    return features[rows.to(features.device)].cpu().numpy()


def _search_part(query: Tensor, gallery: Tensor, k: int, memory: WorkingMemory) -> Neighbours:
    """`search` in a part of the gallery with at least k rows."""
    wanted = query.cpu()
    lengths, gallery_lengths = _lengths(query), _lengths(gallery)
    # The scalar products in |q|^2 + |g|^2 - 2 q.g are off by at most D roundings of |q| |g| each
    # (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1).
    slack = ROUNDING * (query.shape[1] + 4) * (lengths + gallery_lengths.max()).square()
    bytes_per_row = memory.bytes_per_distance * len(gallery)
    indices = torch.empty(len(query), k, dtype=torch.long)
    distances = torch.empty(len(query), k, dtype=torch.float64)
    for rows in memory.blocks(len(query), bytes_per_row):
        squares = query.new_empty(rows.stop - rows.start, len(gallery))
        with full_precision(query.device):
            row_term = lengths[rows, None].square()
            add_products(-2 * query[rows], gallery, row_term, gallery_lengths.square(), squares)
        check_finite("distances", squares, rows.start)
        nearest = squares.topk(min(k + SPARE, len(gallery)), largest=False)
        limits = (nearest.values[:, k - 1] + slack[rows]).cpu()
        values, places = (
            nearest.values.cpu(),
            nearest.indices.cpu(),
        )  # one transfer for all queries of the block
        for number, limit in enumerate(limits):
            near = places[number][values[number] <= limit]
            if len(near) == places.shape[1]:  # more may be equally near, e.g. copies
                near = (squares[number] <= limit).nonzero().flatten().cpu()
            row = rows.start + number
            indices[row], distances[row] = nearest_of(wanted[row], gallery, near, k)
    return Neighbours(indices, distances)


def _lengths(features: Tensor) -> Tensor:
    return torch.linalg.vector_norm(features, dim=1)


def _merge(first: Neighbours, second: Neighbours, k: int) -> Neighbours:
    """The k nearest of both; at equal distances rows of the first come first."""
    indices = torch.cat([first.indices, second.indices], dim=1)
    distances = torch.cat([first.distances, second.distances], dim=1)
    order = distances.argsort(dim=1, stable=True)[:, :k]
    return Neighbours(indices.gather(1, order), distances.gather(1, order))

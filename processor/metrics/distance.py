"""Distances between query and gallery features, one block of queries at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from processor.metrics.checks import FeatureArray, check_finite
from processor.metrics.normalize import normalize_features
from processor.metrics.products import add_products
from processor.runtime.float32 import full_precision

METRICS = ("euclidean", "cosine")
ROWS_AT_ONCE = 256  # squared together; fit the cache


@dataclass(frozen=True, slots=True)
class DistanceBlock:
    """Distances of some queries to the whole gallery; the next block may overwrite the values."""

    rows: slice  # of the queries
    values: Tensor  # (c, G), smaller = more alike

    def check_shape(self, num_gallery: int) -> None:
        """Raise ValueError unless the values are (c, G)."""
        expected, found = (self.rows.stop - self.rows.start, num_gallery), tuple(self.values.shape)
        if found != expected:
            raise ValueError(f"distances: expected {expected}, got {found}")


DistanceSource: TypeAlias = Callable[[Iterator[slice]], Iterable[DistanceBlock]]
"""Computes the blocks of the given query rows; may be called several times."""


def distance_blocks(
    query: Tensor, gallery: Tensor, slices: Iterator[slice], metric: str = "euclidean"
) -> Iterator[DistanceBlock]:
    """Yield the distance matrix in blocks of query rows.

    "euclidean" is the squared distance |q|^2 + |g|^2 - 2 q.g, by which CLIP-ReID ranks (it may
    come out slightly below zero); "cosine" is 1 - cos(q, g).

    Args:
        query: (Q, D) float32.
        gallery: (G, D) float32 on the same device.
        slices: the query rows of each block; see `WorkingMemory`.
        metric: one of METRICS.

    Raises:
        ValueError: unknown metric, or distances that overflow float32.
    """
    if metric not in METRICS:
        raise ValueError(f"metric: unknown {metric!r}; known: {', '.join(METRICS)}")
    if metric == "cosine":
        query, gallery = normalize_features(query), normalize_features(gallery)
        scale = -1.0
        row_term, column_term = query.new_ones(len(query)), gallery.new_zeros(len(gallery))
    else:
        scale = -2.0
        row_term, column_term = _squared_lengths(query), _squared_lengths(gallery)
    gallery = gallery.contiguous()
    memory = query.new_empty(0)  # shared by all blocks: fresh pages cost as much as a small product
    for rows in slices:
        count = rows.stop - rows.start
        if len(memory) < count:
            memory = query.new_empty(count, len(gallery))
        values = memory[:count]
        # scaling the rows instead of the product rounds nothing: the factors are powers of two
        scaled = scale * query[rows]
        with full_precision(query.device):
            add_products(scaled, gallery, row_term[rows, None], column_term, values)
        check_finite("distances", values, rows.start)
        yield DistanceBlock(rows, values)


def distmat_blocks(matrix: FeatureArray, slices: Iterator[slice]) -> Iterator[DistanceBlock]:
    """Yield a given distance matrix in blocks of query rows.

    Args:
        matrix: (Q, G); integers become float64, half precision becomes float32.
        slices: the query rows of each block; see `WorkingMemory`.

    Raises:
        ValueError: NaN or infinite distances.
    """
    for rows in slices:
        # NumPy rows are copied: they may be read-only or mapped from a file
        part = matrix[rows]
        values = part.detach() if isinstance(part, Tensor) else torch.from_numpy(np.array(part))
        if not values.is_floating_point():
            values = values.double()
        elif values.element_size() < 4:
            values = values.float()
        check_finite("distmat", values, rows.start)
        yield DistanceBlock(rows, values.contiguous())


def _squared_lengths(features: Tensor) -> Tensor:
    """(N, D) -> (N,); in parts, so that no second copy of the features exists."""
    lengths = features.new_empty(len(features))
    squares = features.new_empty(ROWS_AT_ONCE, features.shape[1])  # reused, as new ones pile up
    for part, out in zip(features.split(ROWS_AT_ONCE), lengths.split(ROWS_AT_ONCE), strict=True):
        torch.square(part, out=squares[: len(part)])
        torch.sum(squares[: len(part)], dim=1, out=out)
    return lengths

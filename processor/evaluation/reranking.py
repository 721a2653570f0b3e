"""Re-ranking by k-reciprocal neighbours (Zhong et al., CVPR 2017), in sparse form."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from processor.evaluation.distance import (
    FeatureArray,
    check_features,
    chunk_slices,
    distance_blocks,
)
from processor.evaluation.reciprocal import (
    average_over_nearest,
    expanded_neighbours,
    neighbour_weights,
)

SMALLEST_MAXIMUM = 1e-12  # divides rows of distances that are all zero


@dataclass(frozen=True, slots=True)
class _Neighbourhood:
    """What remains of the (N, N) distance matrix of queries and gallery together."""

    nearest: np.ndarray  # (N, K) int32, the image itself first
    row_maxima: np.ndarray  # (N,) float32, largest distance of each row
    query_distances: np.ndarray  # (Q, G) float32, divided by the row maxima


@torch.no_grad()
def rerank(
    query_features: FeatureArray,
    gallery_features: FeatureArray,
    k1: int = 50,
    k2: int = 15,
    lambda_value: float = 0.3,
    *,
    chunk_mb: float = 256,
) -> Tensor:
    """Distances (1 - lambda) J + lambda O from Jaccard distances of k-reciprocal neighbours.

    With O the squared Euclidean distances, each row divided by its maximum, and N(i, k) the k + 1
    images nearest to i (itself included), the neighbours are R(i) = {j in N(i, k1): i in N(j, k1)},
    joined by R'(c) (the same with k1 / 2) of every c in R(i) that shares more than two thirds of
    R'(c) with R(i). V_i = exp(-O_i) over them, normalized to sum 1 and averaged over the k2 images
    nearest to i; J_ij = 1 - s / (2 - s) with s = sum_l min(V_il, V_jl).

    Args:
        query_features: (Q, D), normalized by the caller if wanted.
        gallery_features: (G, D).
        k1: size of the neighbourhood; more than the images there are means all of them.
        k2: images averaged over; 1 = no averaging.
        lambda_value: weight of the original distance, 0..1.
        chunk_mb: MiB of working memory for one chunk of distances.

    Returns:
        (Q, G) float32 on the device of the query features.

    Raises:
        ValueError: empty, mismatched or non-finite features, constants out of range.
        MemoryError: the estimate of `rerank_memory` exceeds the memory at hand.
    """
    if k1 < 1 or k2 < 1 or not 0 <= lambda_value <= 1:
        raise ValueError(
            "re-ranking needs k1 >= 1, k2 >= 1 and lambda_value in 0..1, "
            f"got {k1}, {k2} and {lambda_value}"
        )
    query, gallery = check_features(query_features, gallery_features)
    num_query = len(query)
    _check_memory(rerank_memory(num_query, len(gallery), query.shape[1], k1, k2))
    features = torch.cat([query, gallery])
    around = _find_neighbourhood(features, num_query, max(k1 + 1, k2), chunk_mb)
    neighbours = expanded_neighbours(around.nearest, k1)
    weights = neighbour_weights(neighbours, features.cpu().numpy(), around.row_maxima)
    if k2 > 1:
        weights = average_over_nearest(weights, around.nearest[:, :k2])
    blended = _blend_jaccard(weights, around.query_distances, lambda_value)
    return torch.from_numpy(blended).to(query.device)


def rerank_memory(num_query: int, num_gallery: int, dim: int, k1: int, k2: int) -> int:
    """Bytes that `rerank` is expected to need above the features it is given.

    The width of the sparse rows depends on the data; wide clusters are assumed.
    """
    num_images = num_query + num_gallery
    set_size = min(2 * (k1 + 1), num_images)
    averaged = min(set_size * (1 + k2 // 2), num_images)
    joined = 4 * num_images * dim
    dense = 4 * num_query * num_gallery
    sparse_rows = 8 * num_images * (3 * set_size + 2 * averaged)  # index and value, with copies
    return joined + dense + sparse_rows + 2**28


def _check_memory(needed: int) -> None:
    available = _available_memory()
    if available is not None and needed > available:
        raise MemoryError(
            f"re-ranking needs about {needed / 1e9:.1f} GB, have {available / 1e9:.1f} GB; "
            "set TEST.RE_RANKING False or evaluate on a machine with more memory"
        )


def _available_memory() -> int | None:
    """Bytes this machine can still give out, None where the system does not tell."""
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):
        return None


def _find_neighbourhood(
    features: Tensor, num_query: int, num_nearest: int, chunk_mb: float
) -> _Neighbourhood:
    num_images = len(features)
    num_nearest = min(num_nearest, num_images)
    nearest = np.empty((num_images, num_nearest), dtype=np.int32)
    row_maxima = np.empty(num_images, dtype=np.float32)
    query_distances = np.empty((num_query, num_images - num_query), dtype=np.float32)
    bytes_per_row = 8 * num_images + 12 * num_nearest  # distances, scaled ones, nearest
    slices = chunk_slices(num_images, bytes_per_row, chunk_mb)
    for block in distance_blocks(features, features, slices):
        rows, values = block.rows, block.values
        maxima = values.amax(dim=1).clamp_min(SMALLEST_MAXIMUM)
        row_maxima[rows] = maxima.cpu().numpy()
        if rows.start < num_query:
            queries = slice(rows.start, min(rows.stop, num_query))
            count = queries.stop - queries.start
            scaled = values[:count, num_query:] / maxima[:count, None]
            query_distances[queries] = scaled.cpu().numpy()
        values.diagonal(rows.start).fill_(-torch.inf)  # itself first, also among duplicates
        found = values.topk(num_nearest, dim=1, largest=False).indices
        nearest[rows] = found.cpu().numpy()
    return _Neighbourhood(nearest, row_maxima, query_distances)


def _blend_jaccard(
    weights: sparse.csr_array, query_distances: np.ndarray, lambda_value: float
) -> np.ndarray:
    """Overwrite the (Q, G) distances with (1 - lambda) J + lambda times themselves.

    An inverted index of the gallery (which images have weight at neighbour l) limits the sum of
    minima to the images that share a neighbour with the query.
    """
    num_query = len(query_distances)
    index = weights[num_query:].T.tocsr()
    for i in range(num_query):
        mine = slice(weights.indptr[i], weights.indptr[i + 1])
        lists = index[weights.indices[mine]]
        lengths = np.diff(lists.indptr)
        np.minimum(lists.data, np.repeat(weights.data[mine], lengths), out=lists.data)
        overlap = lists.T @ np.ones(len(lengths), dtype=np.float32)
        jaccard = 1 - overlap / (2 - overlap)
        query_distances[i] = (1 - lambda_value) * jaccard + lambda_value * query_distances[i]
    return query_distances

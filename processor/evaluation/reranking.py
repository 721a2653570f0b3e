"""Re-ranking by k-reciprocal neighbours (Zhong et al., CVPR 2017), in sparse form."""

from __future__ import annotations

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from processor.evaluation.distance import (
    FeatureArray,
    block_mb,
    bytes_per_distance,
    check_features,
    chunk_slices,
)
from processor.evaluation.memory import (
    RERANKING_REMEDY,
    check_ranking,
    features_bytes,
    refuse_beyond,
    rerank_memory,
)
from processor.evaluation.neighbourhood import find_neighbourhood
from processor.evaluation.reranked_distances import RerankedDistances
from processor.runtime.memory import available_bytes

ROWS_PER_PRODUCT = 4096  # rows of a sparse product whose dense-ish result is filtered at once


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
        (Q, G) float32 on the device of the query features; `rerank_blocks` does without it.

    Raises:
        ValueError: empty, mismatched or non-finite features, constants out of range.
        MemoryError: the estimate of `rerank_memory` exceeds the memory at hand.
    """
    query, gallery = check_features(query_features, gallery_features)
    num_query, num_gallery = len(query), len(gallery)
    _check_memory(rerank_memory(num_query, num_gallery, query.shape[1], k1, k2))
    source = rerank_blocks(query, gallery, k1, k2, lambda_value, chunk_mb=chunk_mb)
    bytes_per_row = bytes_per_distance(query.device) * num_gallery
    most_mb = block_mb(bytes_per_row, chunk_mb, query.device)
    distances = query.new_empty(num_query, num_gallery)
    for block in source(chunk_slices(num_query, bytes_per_row, most_mb)):
        distances[block.rows] = block.values
    return distances


@torch.no_grad()
def rerank_blocks(
    query_features: FeatureArray,
    gallery_features: FeatureArray,
    k1: int = 50,
    k2: int = 15,
    lambda_value: float = 0.3,
    *,
    chunk_mb: float = 256,
) -> RerankedDistances:
    """The distances of `rerank` block by block, so that no (Q, G) matrix has to exist.

    Arguments and errors are those of `rerank`.
    """
    if k1 < 1 or k2 < 1 or not 0 <= lambda_value <= 1:
        raise ValueError(
            "re-ranking needs k1 >= 1, k2 >= 1 and lambda_value in 0..1, "
            f"got {k1}, {k2} and {lambda_value}"
        )
    query, gallery = check_features(query_features, gallery_features)
    _check_blocks(query, gallery, k1, k2, chunk_mb)
    num_query = len(query)
    features = _joined(query, gallery)
    around = find_neighbourhood(features, max(k1 + 1, k2), chunk_mb)
    neighbours = _expanded_neighbours(around.nearest, k1)
    weights = _neighbour_weights(neighbours, features.cpu().numpy(), around.row_maxima)
    nearest = around.nearest[:, :k2]
    return RerankedDistances(
        query=query,
        gallery=gallery,
        row_maxima=around.row_maxima[:num_query],
        weights=_average_over_nearest(weights, nearest, slice(0, num_query)),
        index=_average_over_nearest(weights, nearest, slice(num_query, None)).T.tocsr(),
        lambda_value=lambda_value,
    )


def _check_memory(needed: int) -> None:
    refuse_beyond(_available_memory(), needed, "re-ranking", RERANKING_REMEDY)


def _check_blocks(query: Tensor, gallery: Tensor, k1: int, k2: int, chunk_mb: float) -> None:
    (num_query, dim), num_gallery = query.shape, len(gallery)
    _check_memory(rerank_memory(num_query, num_gallery, dim, k1, k2, whole=False))
    if query.device.type != "cpu":
        num_images = num_query + num_gallery
        joined = features_bytes(num_images, dim)
        check_ranking(num_images, num_images, chunk_mb, query.device, also=joined)


def _available_memory() -> int | None:
    """Bytes of main memory: the sparse rows are there, whatever the device."""
    return available_bytes(torch.device("cpu"))


def _joined(query: Tensor, gallery: Tensor) -> Tensor:
    """(Q + G, D); a view where the gallery follows the queries in memory."""
    end = query.storage_offset() + query.numel()
    if (
        query.untyped_storage().data_ptr() == gallery.untyped_storage().data_ptr()
        and end == gallery.storage_offset()
        and query.is_contiguous()
        and gallery.is_contiguous()
    ):
        shape = (len(query) + len(gallery), query.shape[1])
        return query.as_strided(shape, query.stride(), query.storage_offset())
    return torch.cat([query, gallery])


def _membership(nearest: np.ndarray, num_images: int) -> sparse.csr_array:
    """(n, N) with a one at every (i, j) where j is in row i of `nearest` (n, k)."""
    num_rows, width = nearest.shape
    starts = np.arange(num_rows + 1, dtype=np.int32) * width
    ones = np.ones(nearest.size, dtype=np.float32)
    columns = nearest.flatten()  # a copy: the matrix sorts them in place
    matrix = sparse.csr_array((ones, columns, starts), shape=(num_rows, num_images))
    matrix.sort_indices()
    return matrix


def _reciprocal(nearest: np.ndarray) -> sparse.csr_array:
    """The entries of `_membership` that hold both ways."""
    members = _membership(nearest, len(nearest))
    return members.multiply(members.T.tocsr()).tocsr()


def _expanded_neighbours(nearest: np.ndarray, k1: int) -> sparse.csr_array:
    """(N, N) pattern of R(i), each joined by the R'(c) that lie in it for the most part."""
    reciprocal = _reciprocal(nearest[:, : k1 + 1])
    halves = _reciprocal(nearest[:, : round(k1 / 2) + 1])  # rounds half to even, as NumPy does
    half_sizes = np.diff(halves.indptr)
    halves_transposed = halves.T.tocsr()
    parts = []
    for start in range(0, len(nearest), ROWS_PER_PRODUCT):
        own = reciprocal[start : start + ROWS_PER_PRODUCT]
        shared = (own @ halves_transposed).multiply(own).tocsr()  # (i, c): |R'(c) & R(i)|
        shared.data = (3 * shared.data > 2 * half_sizes[shared.indices]).astype(np.float32)
        shared.eliminate_zeros()
        parts.append(own + shared @ halves)
    return sparse.vstack(parts, format="csr")


def _neighbour_weights(
    neighbours: sparse.csr_array, features: np.ndarray, row_maxima: np.ndarray
) -> sparse.csr_array:
    """V: exp(-O) on the pattern of `neighbours`, every row scaled to sum 1."""
    starts, columns = neighbours.indptr, neighbours.indices
    squares = np.einsum("nd,nd->n", features, features)  # without a second copy of the features
    weights = np.empty(len(columns), dtype=np.float32)
    for i in range(len(features)):  # one row at a time stays in the cache
        mine = slice(starts[i], starts[i + 1])
        products = features[columns[mine]] @ features[i]
        distances = (squares[i] + squares[columns[mine]] - 2 * products) / row_maxima[i]
        closeness = np.exp(-distances)
        weights[mine] = closeness / closeness.sum()
    return sparse.csr_array((weights, columns, starts), neighbours.shape)


def _average_over_nearest(
    weights: sparse.csr_array, nearest: np.ndarray, rows: slice
) -> sparse.csr_array:
    """Some `rows`, row i of them the mean of the rows `nearest[i]` of (N, k2)."""
    if nearest.shape[1] == 1:
        return weights[rows]
    averaged = _membership(nearest[rows], len(nearest)) @ weights
    averaged.data /= np.float32(nearest.shape[1])  # in place, and scipy divides in float64
    return averaged

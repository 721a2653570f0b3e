"""Re-ranking by k-reciprocal neighbours (Zhong et al., CVPR 2017), in sparse form."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from processor.metrics.distance import (
    DistanceBlock,
    FeatureArray,
    block_mb,
    bytes_per_distance,
    check_features,
    chunk_slices,
    distance_blocks,
)
from processor.metrics.k_reciprocal import (
    average_over_nearest,
    expanded_neighbours,
    find_neighbourhood,
    neighbour_weights,
)
from processor.metrics.memory_limits import (
    RERANKING_REMEDY,
    check_ranking,
    features_bytes,
    refuse_beyond,
    rerank_memory,
)
from processor.runtime.device import available_bytes


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
    neighbours = expanded_neighbours(around.nearest, k1)
    weights = neighbour_weights(neighbours, features.cpu().numpy(), around.row_maxima)
    nearest = around.nearest[:, :k2]
    return RerankedDistances(
        query=query,
        gallery=gallery,
        row_maxima=around.row_maxima[:num_query],
        weights=average_over_nearest(weights, nearest, slice(0, num_query)),
        index=average_over_nearest(weights, nearest, slice(num_query, None)).T.tocsr(),
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


@dataclass(frozen=True, slots=True)
class RerankedDistances:
    """A `DistanceSource` of re-ranked distances: they are made when they are asked for.

    Attributes:
        query: (Q, D) float32 features.
        gallery: (G, D).
        row_maxima: (Q,) largest squared distance of each query to any of the N = Q + G images.
        weights: (Q, N) averaged weights V of the queries.
        index: (N, G) those of the gallery, turned round: who has weight at an image.
        lambda_value: weight of the original distance, 0..1.
    """

    query: Tensor
    gallery: Tensor
    row_maxima: np.ndarray
    weights: sparse.csr_array
    index: sparse.csr_array
    lambda_value: float

    def __call__(self, slices: Iterator[slice]) -> Iterator[DistanceBlock]:
        """Yield the re-ranked distances of given query rows."""
        for block in distance_blocks(self.query, self.gallery, slices):
            rows = block.rows
            distances = block.values.cpu().numpy()
            distances /= self.row_maxima[rows, None]
            for place, query in enumerate(range(rows.start, rows.stop)):
                jaccard = self._jaccard(query)
                jaccard *= 1 - self.lambda_value
                distances[place] *= self.lambda_value
                distances[place] += jaccard
            yield DistanceBlock(rows, torch.from_numpy(distances).to(self.query.device))

    def _jaccard(self, query: int) -> np.ndarray:
        """(G,) Jaccard distances of a query to the gallery.

        The sum of minima runs over the images that share a neighbour with the query.
        """
        mine = slice(self.weights.indptr[query], self.weights.indptr[query + 1])
        lists = self.index[self.weights.indices[mine]]
        lengths = np.diff(lists.indptr)
        np.minimum(lists.data, np.repeat(self.weights.data[mine], lengths), out=lists.data)
        overlap = lists.T @ np.ones(len(lengths), dtype=np.float32)
        return 1 - overlap / (2 - overlap)

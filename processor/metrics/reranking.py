"""Re-ranking by k-reciprocal neighbours (Zhong et al., CVPR 2017), in sparse form."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from processor.metrics.checks import FeatureArray, check_features
from processor.metrics.distance import DistanceBlock, DistanceSource, distance_blocks
from processor.metrics.k_reciprocal import (
    Reranking,
    average_over_nearest,
    expanded_neighbours,
    find_neighbourhood,
    neighbour_weights,
    place_of_sparse_rows,
)
from processor.metrics.memory_limits import (
    check_ranking,
    check_reranking,
    features_bytes,
)
from processor.metrics.reranking_device import rerank_on_device
from processor.metrics.working_memory import CPU, WorkingMemory


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

    O are the squared Euclidean distances, each row divided by its maximum, and N(i, k) the k + 1
    images nearest to i, itself included. The neighbours are R(i) = {j in N(i, k1): i in N(j, k1)},
    joined by R'(c) (R(c) with k1 / 2) of every c in R(i) if R(i) contains more than two thirds of
    R'(c). V_i = exp(-O_i) over them, normalized to sum 1 and averaged over the k2 images nearest to
    i; J_ij = 1 - s / (2 - s) with s = sum_l min(V_il, V_jl).

    Args:
        query_features: (Q, D), normalized by the caller if required.
        gallery_features: (G, D).
        k1: size of the neighbourhood, clipped to the number of images.
        k2: images averaged over; 1 = no averaging.
        lambda_value: weight of the original distance, 0..1.
        chunk_mb: MiB of working memory for one block of distances.

    Returns:
        (Q, G) float32 on the device of the query features; `rerank_blocks` avoids this matrix.

    Raises:
        ValueError: empty, mismatched or non-finite features, constants out of range.
        MemoryError: the estimate of `rerank_memory` exceeds the free memory.
    """
    constants = Reranking(k1, k2, lambda_value)
    query, gallery = check_features(query_features, gallery_features)
    num_query, num_gallery = len(query), len(gallery)
    size = (num_query, num_gallery, query.shape[1])
    check_reranking(size, constants, query.device, whole=True)
    memory = WorkingMemory(chunk_mb, query.device)
    source = rerank_blocks(query, gallery, constants, memory)
    distances = query.new_empty(num_query, num_gallery)
    for block in source(memory.blocks(num_query, memory.bytes_per_distance * num_gallery)):
        distances[block.rows] = block.values
    return distances


@torch.no_grad()
def rerank_blocks(
    query_features: FeatureArray,
    gallery_features: FeatureArray,
    constants: Reranking,
    memory: WorkingMemory,
) -> DistanceSource:
    """The distances of `rerank` block by block, so that no (Q, G) matrix has to exist.

    Args:
        query_features: (Q, D), normalized by the caller if required.
        gallery_features: (G, D).
        constants: of the re-ranking.
        memory: for one block, on the device of the query features.

    Raises:
        ValueError, MemoryError: as `rerank`.
    """
    query, gallery = check_features(query_features, gallery_features)
    _check_blocks(query, gallery, constants, memory)
    num_query = len(query)
    features = _joined(query, gallery)
    if place_of_sparse_rows(features.device) != CPU:
        return rerank_on_device(features, num_query, constants, memory)
    around = find_neighbourhood(features, max(constants.k1 + 1, constants.k2), memory)
    neighbours = expanded_neighbours(around.nearest, constants.k1)
    weights = neighbour_weights(neighbours, features.cpu().numpy(), around.row_maxima)
    nearest = around.nearest[:, : constants.k2]
    return RerankedDistances(
        query=query,
        gallery=gallery,
        row_maxima=around.row_maxima[:num_query],
        weights=average_over_nearest(weights, nearest, slice(0, num_query)),
        index=average_over_nearest(weights, nearest, slice(num_query, None)).T.tocsr(),
        lambda_value=constants.lambda_value,
    )


def _check_blocks(
    query: Tensor, gallery: Tensor, constants: Reranking, memory: WorkingMemory
) -> None:
    (num_query, dim), num_gallery = query.shape, len(gallery)
    check_reranking((num_query, num_gallery, dim), constants, memory.device)
    if memory.device.type != "cpu":
        num_images = num_query + num_gallery
        joined = features_bytes(num_images, dim)
        check_ranking(num_images, num_images, memory, also=joined)


def _joined(query: Tensor, gallery: Tensor) -> Tensor:
    """(Q + G, D); a view if the gallery follows the queries in memory."""
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
    """A `DistanceSource` of re-ranked distances, which are computed on demand.

    Attributes:
        query: (Q, D) float32 features.
        gallery: (G, D).
        row_maxima: (Q,) largest squared distance of each query to any of the N = Q + G images.
        weights: (Q, N) averaged weights V of the queries.
        index: (N, G) averaged weights of the gallery, transposed to an inverted index.
        lambda_value: weight of the original distance, 0..1.
    """

    query: Tensor
    gallery: Tensor
    row_maxima: np.ndarray
    weights: sparse.csr_array
    index: sparse.csr_array
    lambda_value: float

    def __call__(self, slices: Iterator[slice]) -> Iterator[DistanceBlock]:
        """Yield the re-ranked distances of the given query rows."""
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

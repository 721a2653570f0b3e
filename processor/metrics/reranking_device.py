"""Re-ranked distances as in `reranking`, computed on the device of the features."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from processor.metrics.distance import DistanceBlock, distance_blocks
from processor.metrics.k_reciprocal import Reranking, find_neighbourhood
from processor.metrics.k_reciprocal_device import (
    average_over_nearest,
    expanded_neighbours,
    neighbour_weights,
    overlaps,
)
from processor.metrics.sparse_rows import SparseRows
from processor.metrics.working_memory import WorkingMemory


def rerank_on_device(
    features: Tensor, num_query: int, constants: Reranking, memory: WorkingMemory
) -> DeviceDistances:
    """The distances of `rerank_blocks`.

    Args:
        features: (Q + G, D) of queries and gallery.
        num_query: Q.
        constants: of the re-ranking.
        memory: for one block, on the features' device.
    """
    around = find_neighbourhood(features, max(constants.k1 + 1, constants.k2), memory)
    nearest = torch.from_numpy(around.nearest).to(features.device, torch.long)
    row_maxima = torch.from_numpy(around.row_maxima).to(features.device)
    neighbours = expanded_neighbours(nearest, constants.k1, memory)
    weights = neighbour_weights(neighbours, features, row_maxima, memory)
    if constants.k2 > 1:
        weights = average_over_nearest(weights, nearest[:, : constants.k2], memory)
    return DeviceDistances(
        query=features[:num_query],
        gallery=features[num_query:],
        row_maxima=row_maxima[:num_query],
        weights=weights.rows(slice(0, num_query)),
        index=weights.rows(slice(num_query, len(features))).transposed(),
        lambda_value=constants.lambda_value,
        memory=memory,
    )


@dataclass(frozen=True, slots=True)
class DeviceDistances:
    """A `DistanceSource` of re-ranked distances, which are computed on demand.

    Attributes:
        query: (Q, D) float32 features.
        gallery: (G, D).
        row_maxima: (Q,) largest squared distance of each query to any image.
        weights: (Q, N) averaged weights V of the queries.
        index: (N, G) averaged weights of the gallery, transposed.
        lambda_value: weight of the original distance, 0..1.
        memory: for temporary entries.
    """

    query: Tensor
    gallery: Tensor
    row_maxima: Tensor
    weights: SparseRows
    index: SparseRows
    lambda_value: float
    memory: WorkingMemory

    def __call__(self, slices: Iterator[slice]) -> Iterator[DistanceBlock]:
        """Yield the re-ranked distances of the given query rows."""
        for block in distance_blocks(self.query, self.gallery, slices):
            distances = block.values
            distances *= self.lambda_value / self.row_maxima[block.rows, None]
            for rows, shared in overlaps(self.weights.rows(block.rows), self.index, self.memory):
                jaccard = 1 - shared / (2 - shared)
                distances[rows] += (1 - self.lambda_value) * jaccard.float()
            yield DistanceBlock(block.rows, distances)

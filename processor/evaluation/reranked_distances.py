"""Re-ranked distances from the weights of k-reciprocal neighbours, a block of queries at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from processor.evaluation.distance import DistanceBlock, distance_blocks


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

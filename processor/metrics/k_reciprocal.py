"""k-reciprocal neighbours and their weights (Zhong et al., CVPR 2017), in sparse form."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from processor.metrics.distance import block_mb, bytes_per_distance, chunk_slices, distance_blocks

ROWS_PER_PRODUCT = 4096  # rows of a sparse product whose dense-ish result is filtered at once
SMALLEST_MAXIMUM = 1e-12  # divides rows of distances that are all zero


def expanded_neighbours(nearest: np.ndarray, k1: int) -> sparse.csr_array:
    """Pattern of R(i), the mutual neighbours, each joined by the R'(c) that lie mostly in it.

    R(i) looks at the first k1 + 1 columns of `nearest` (all, where there are fewer) and R'(c) at
    the first k1 / 2 + 1. R'(c) of a c in R(i) joins when R(i) holds over two thirds of it.

    Args:
        nearest: (N, k) nearest images of each image, itself first.
        k1: size of the neighbourhood.

    Returns:
        (N, N), stored where j belongs to i.
    """
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


def neighbour_weights(
    neighbours: sparse.csr_array, features: np.ndarray, row_scales: np.ndarray
) -> sparse.csr_array:
    """Weights exp(-d^2 / scale) on the pattern of `neighbours`, every row divided by its sum.

    Args:
        neighbours: (N, N); every image is its own neighbour.
        features: (N, D) float32, d their Euclidean distance.
        row_scales: (N,).
    """
    starts, columns = neighbours.indptr, neighbours.indices
    squares = np.einsum("nd,nd->n", features, features)  # without a second copy of the features
    weights = np.empty(len(columns), dtype=np.float32)
    for i in range(len(features)):  # one row at a time stays in the cache
        mine = slice(starts[i], starts[i + 1])
        products = features[columns[mine]] @ features[i]
        distances = (squares[i] + squares[columns[mine]] - 2 * products) / row_scales[i]
        closeness = np.exp(-distances)
        weights[mine] = closeness / closeness.sum()
    return sparse.csr_array((weights, columns, starts), neighbours.shape)


def average_over_nearest(
    weights: sparse.csr_array, nearest: np.ndarray, rows: slice = slice(None)
) -> sparse.csr_array:
    """Some `rows`, row i of them the mean of the rows `nearest[i]` of (N, k2)."""
    if nearest.shape[1] == 1:
        return weights[rows]
    averaged = _membership(nearest[rows], len(nearest)) @ weights
    averaged.data /= np.float32(nearest.shape[1])  # in place, and scipy divides in float64
    return averaged


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


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """What remains of the (N, N) squared distances of some images to each other."""

    nearest: np.ndarray  # (N, K) int32, the image itself first
    row_maxima: np.ndarray  # (N,) float32, largest distance of each row, above zero


def find_neighbourhood(features: Tensor, num_nearest: int, chunk_mb: float) -> Neighbourhood:
    """Look for the nearest images, a block of rows at a time.

    Args:
        features: (N, D) float32.
        num_nearest: how many to keep, clipped to N; the image itself counts.
        chunk_mb: MiB of working memory for one block.
    """
    num_images = len(features)
    num_nearest = min(num_nearest, num_images)
    nearest = np.empty((num_images, num_nearest), dtype=np.int32)
    row_maxima = np.empty(num_images, dtype=np.float32)
    bytes_per_row = bytes_per_distance(features.device) * num_images + 12 * num_nearest
    most_mb = block_mb(bytes_per_row, chunk_mb, features.device)
    slices = chunk_slices(num_images, bytes_per_row, most_mb)
    for block in distance_blocks(features, features, slices):
        values = block.values
        row_maxima[block.rows] = values.amax(dim=1).clamp_min(SMALLEST_MAXIMUM).cpu().numpy()
        values.diagonal(block.rows.start).fill_(-torch.inf)  # itself first, also among duplicates
        found = values.topk(num_nearest, dim=1, largest=False).indices
        nearest[block.rows] = found.cpu().numpy()
    return Neighbourhood(nearest, row_maxima)

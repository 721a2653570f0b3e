"""k-reciprocal neighbours and their weights (Zhong et al., CVPR 2017), in sparse form."""

from __future__ import annotations

import numpy as np
from scipy import sparse

ROWS_PER_PRODUCT = 4096  # rows of a sparse product whose dense-ish result is filtered at once


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

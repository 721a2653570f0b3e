"""k-reciprocal neighbours and their weights (Zhong et al., CVPR 2017) as sparse matrices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from processor.metrics.distance import distance_blocks
from processor.metrics.working_memory import CPU, WorkingMemory

ROWS_PER_PRODUCT = 4096  # of a sparse product, whose result is nearly dense before filtering
MIN_ROW_MAXIMUM = 1e-12  # divides rows of distances that are all zero


@dataclass(frozen=True, slots=True)
class Reranking:
    """The constants of k-reciprocal re-ranking.

    Attributes:
        k1: size of the neighbourhood, clipped to the number of images.
        k2: images averaged over; 1 = no averaging.
        lambda_value: weight of the original distance, 0..1.

    Raises:
        ValueError: a constant is out of range.
    """

    k1: int = 50
    k2: int = 15
    lambda_value: float = 0.3

    def __post_init__(self) -> None:
        if self.k1 < 1 or self.k2 < 1 or not 0 <= self.lambda_value <= 1:
            raise ValueError(
                "re-ranking needs k1 >= 1, k2 >= 1 and lambda_value in 0..1, "
                f"got {self.k1}, {self.k2} and {self.lambda_value}"
            )


def place_of_sparse_rows(device: torch.device) -> torch.device:
    """Where the weights of features on a device are: there, or in main memory.

    Their sums are of float64, which MPS does not have.
    """
    return device if device.type == "cuda" else CPU


def expanded_neighbours(nearest: np.ndarray, k1: int) -> sparse.csr_array:
    """Find the k-reciprocal neighbours R(i), expanded by the R'(c) of their members c.

    R(i) uses the first k1 + 1 columns of `nearest` (all, if there are fewer) and R'(c) the first
    k1 / 2 + 1. R'(c) joins R(i) if R(i) contains more than two thirds of it.

    Args:
        nearest: (N, k) nearest images of each image, itself first.
        k1: size of the neighbourhood.

    Returns:
        (N, N), with stored entries where j is a neighbour of i.
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
    """Weights exp(-d^2 / scale) of the stored entries of `neighbours`, each row of sum 1.

    Args:
        neighbours: (N, N); every image is its own neighbour.
        features: (N, D) float32; d is their Euclidean distance.
        row_scales: (N,).
    """
    starts, columns = neighbours.indptr, neighbours.indices
    squares = np.einsum("nd,nd->n", features, features)  # without a second copy of the features
    weights = np.empty(len(columns), dtype=np.float32)
    for i in range(len(features)):  # one row at a time stays in the cache
        mine = slice(starts[i], starts[i + 1])
        products = features[columns[mine]] @ features[i]
        distances = np.maximum(squares[i] + squares[columns[mine]] - 2 * products, 0)
        distances[columns[mine] == i] = 0  # without rounding, which a tiny scale would inflate
        closeness = np.exp(-distances / row_scales[i])
        weights[mine] = closeness / closeness.sum()
    return sparse.csr_array((weights, columns, starts), neighbours.shape)


def average_over_nearest(
    weights: sparse.csr_array, nearest: np.ndarray, rows: slice = slice(None)
) -> sparse.csr_array:
    """For each i of `rows`, the mean of the weights of its nearest images `nearest[i]`, (N, k2)."""
    if nearest.shape[1] == 1:
        return weights[rows]
    averaged = _membership(nearest[rows], len(nearest)) @ weights
    averaged.data /= np.float32(nearest.shape[1])  # in place, and scipy divides in float64
    return averaged


def _membership(nearest: np.ndarray, num_images: int) -> sparse.csr_array:
    """(n, N) with a one at every (i, j) for which row i of `nearest` (n, k) contains j."""
    num_rows, width = nearest.shape
    starts = np.arange(num_rows + 1, dtype=np.int32) * width
    ones = np.ones(nearest.size, dtype=np.float32)
    columns = nearest.flatten()  # a copy, as the matrix sorts it in place
    matrix = sparse.csr_array((ones, columns, starts), shape=(num_rows, num_images))
    matrix.sort_indices()
    return matrix


def _reciprocal(nearest: np.ndarray) -> sparse.csr_array:
    """The entries (i, j) of `_membership` for which (j, i) is an entry too."""
    members = _membership(nearest, len(nearest))
    return members.multiply(members.T.tocsr()).tocsr()


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """The parts of N images' squared distances to each other that re-ranking needs."""

    nearest: np.ndarray  # (N, K) int32, the image itself first
    row_maxima: np.ndarray  # (N,) float32, largest distance of each row, positive


def find_neighbourhood(features: Tensor, num_nearest: int, memory: WorkingMemory) -> Neighbourhood:
    """Find the nearest images, one block of rows at a time.

    Args:
        features: (N, D) float32.
        num_nearest: how many to keep, clipped to N; the image itself counts.
        memory: for one block, on the features' device.
    """
    num_images = len(features)
    num_nearest = min(num_nearest, num_images)
    nearest = np.empty((num_images, num_nearest), dtype=np.int32)
    row_maxima = np.empty(num_images, dtype=np.float32)
    bytes_per_row = memory.bytes_per_distance * num_images + 12 * num_nearest
    for block in distance_blocks(features, features, memory.blocks(num_images, bytes_per_row)):
        values = block.values
        row_maxima[block.rows] = values.amax(dim=1).clamp_min(MIN_ROW_MAXIMUM).cpu().numpy()
        values.diagonal(block.rows.start).fill_(-torch.inf)  # itself first, also among duplicates
        found = values.topk(num_nearest, dim=1, largest=False).indices
        nearest[block.rows] = found.cpu().numpy()
    return Neighbourhood(nearest, row_maxima)

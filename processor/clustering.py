"""Clustering for pseudo labels: DBSCAN on sparse Jaccard distances of k-reciprocal neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from processor.metrics.checks import FeatureArray, check_finite
from processor.metrics.distance import distance_blocks
from processor.metrics.jaccard_device import jaccard_on_device
from processor.metrics.k_reciprocal import (
    average_over_nearest,
    expanded_neighbours,
    neighbour_weights,
    place_of_sparse_rows,
)
from processor.metrics.working_memory import CPU, WorkingMemory

OUTLIER = -1
ENTRIES_PER_STEP = 2**22  # stored distances by which a growing matrix is enlarged
ROWS_PER_CHUNK = 256  # rows of distances filtered at a time
SIZE_QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)


class PoorClusteringError(ValueError):
    """The images form too few clusters to learn from; other features may form more."""


@torch.no_grad()
def jaccard_distance(
    features: FeatureArray,
    k1: int = 30,
    k2: int = 6,
    *,
    max_distance: float = 1.0,
    chunk_mb: float = 256,
) -> sparse.csr_array:
    """Jaccard distances of k-reciprocal neighbours (Zhong et al., CVPR 2017, eq. 3-10).

    rank(i) are the k1 images nearest to i, itself included (one fewer than in re-ranking). The
    neighbours are R(i) = {j in rank(i): i in rank(j)}, joined by R'(c) (R(c) with the first
    k1 / 2 + 1 of rank(c)) of every c in R(i) if R(i) contains more than two thirds of R'(c).
    V_i = softmax(-d^2) over them, averaged over the first k2 of rank(i); J_ij = 1 - s / (2 - s)
    with s = sum_l min(V_il, V_jl), exactly 1 if i and j share no neighbour.

    Args:
        features: (N, D), unit rows, any float type and device.
        k1: size of the neighbourhood, clipped to the number of images.
        k2: images averaged over, at most k1; 1 = no averaging.
        max_distance: larger distances are not stored; DBSCAN's eps saves memory.
        chunk_mb: MiB of working memory for one block of distances.

    Returns:
        (N, N) float32, symmetric, with the zeros of the diagonal stored and ascending columns in
        each row; absent distances are 1, or above `max_distance`.

    Raises:
        ValueError: features that are not a matrix or not finite, constants out of range.
    """
    if k1 < 1 or k2 < 1:
        raise ValueError(f"DSGL.K1 and DSGL.K2: expected 1 or more, got {k1} and {k2}")
    rows = torch.as_tensor(features).detach()
    if rows.ndim != 2 or rows.numel() == 0:
        raise ValueError(f"features: expected rows of a matrix, got shape {tuple(rows.shape)}")
    rows = rows.float()
    check_finite("features", rows)
    memory = WorkingMemory(chunk_mb, rows.device)
    nearest = _find_nearest(rows, k1, memory)
    if place_of_sparse_rows(rows.device) != CPU:
        places = torch.from_numpy(nearest).to(rows.device, torch.long)
        return jaccard_on_device(rows, places, k2, max_distance, memory)
    neighbours = expanded_neighbours(nearest, k1)
    ones = np.ones(len(rows), dtype=np.float32)
    weights = neighbour_weights(neighbours, rows.cpu().numpy(), ones)
    if k2 > 1:
        weights = average_over_nearest(weights, nearest[:, :k2])
    weights.sort_indices()  # sums run in the same order for (i, j) and (j, i)
    return _jaccard(weights, max_distance)


def _find_nearest(features: Tensor, num_nearest: int, memory: WorkingMemory) -> np.ndarray:
    """(N, k) int32, nearest first, the image itself before its duplicates."""
    num_images = len(features)
    num_nearest = min(num_nearest, num_images)
    nearest = np.empty((num_images, num_nearest), dtype=np.int32)
    slices = memory.chunks(num_images, 4 * num_images + 12 * num_nearest)
    for block in distance_blocks(features, features, slices):
        block.values.diagonal(block.rows.start).fill_(-torch.inf)
        found = block.values.topk(num_nearest, dim=1, largest=False).indices
        nearest[block.rows] = found.cpu().numpy()
    return nearest


def _jaccard(weights: sparse.csr_array, max_distance: float) -> sparse.csr_array:
    """Jaccard distances of the rows of V, by an inverted index from neighbours to rows."""
    index = weights.T.tocsr()
    entries = _Entries(weights.shape[0])
    for i in range(weights.shape[0]):
        mine = slice(weights.indptr[i], weights.indptr[i + 1])
        lists = index[weights.indices[mine]]
        lengths = np.diff(lists.indptr)
        np.minimum(lists.data, np.repeat(weights.data[mine], lengths), out=lists.data)
        overlap = lists.T @ np.ones(len(lengths), dtype=np.float32)
        overlap[i] = 1
        columns = np.flatnonzero(overlap)
        shared = overlap[columns]
        distances = np.maximum(1 - shared / (2 - shared), 0)
        kept = (distances < 1) & (distances <= max_distance)
        entries.append_row(columns[kept], distances[kept])
    return entries.matrix()


class _Entries:
    """A square sparse matrix that grows row by row in place, without a second copy at the end."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._columns = np.empty(0, dtype=np.int32)
        self._values = np.empty(0, dtype=np.float32)
        self._starts = [0]

    def append_row(self, columns: np.ndarray, values: np.ndarray) -> None:
        start, end = self._starts[-1], self._starts[-1] + len(columns)
        if end > len(self._values):
            self._resize(end + ENTRIES_PER_STEP)
        self._columns[start:end] = columns
        self._values[start:end] = values
        self._starts.append(end)

    def matrix(self) -> sparse.csr_array:
        self._resize(self._starts[-1])
        parts = (self._values, self._columns, np.array(self._starts))
        return sparse.csr_array(parts, shape=(self._size, self._size))

    def _resize(self, length: int) -> None:
        self._columns.resize(length, refcheck=False)
        self._values.resize(length, refcheck=False)


def cluster(distance: sparse.csr_array, eps: float, min_samples: int = 4) -> np.ndarray:
    """The labels of `group`, which must be at least two clusters to train on.

    Raises:
        ValueError: as `group`.
        PoorClusteringError: as `group`; a single cluster, with advice on eps.
    """
    labels = group(distance, eps, min_samples)
    if labels.max() == 0:
        outliers = int((labels == OUTLIER).sum())
        raise PoorClusteringError(
            f"one cluster of {len(labels) - outliers} images and {outliers} outliers at DSGL.EPS "
            f"{eps}: training needs two or more; lower DSGL.EPS if the cluster is large, raise it "
            "if most images are outliers"
        )
    return labels


def group(distance: sparse.csr_array, eps: float, min_samples: int = 4) -> np.ndarray:
    """DBSCAN (Ester et al., KDD 1996) on sparse distances.

    Args:
        distance: (N, N), symmetric; absent entries off the diagonal are farther than eps.
        eps: largest distance of neighbours, between 0 and 1, both excluded.
        min_samples: neighbours, itself included, that make an image a core of its cluster.

    Returns:
        (N,) int64 labels 0..C-1, -1 = outlier.

    Raises:
        ValueError: eps or min_samples out of range.
        PoorClusteringError: no cluster, with advice on eps.
    """
    if not 0 < eps < 1:
        raise ValueError(f"DSGL.EPS: expected a Jaccard distance between 0 and 1, got {eps}")
    if min_samples < 1:
        raise ValueError(f"DSGL.MIN_SAMPLES: expected 1 or more, got {min_samples}")
    from sklearn.cluster import DBSCAN  # takes a second to import

    graph = _sorted_graph(distance, eps)
    labels = DBSCAN(eps=eps, min_samples=min_samples, metric="precomputed").fit_predict(graph)
    if labels.max() == OUTLIER:
        raise PoorClusteringError(
            f"no cluster: all {len(labels)} images are outliers at DSGL.EPS {eps}; raise "
            "it, or lower DSGL.MIN_SAMPLES"
        )
    return labels.astype(np.int64)


def _sorted_graph(distance: sparse.csr_array, largest: float) -> sparse.csr_array:
    """The pairs up to `largest`, with the diagonal; rows sorted by distance for scikit-learn."""
    from sklearn.neighbors import sort_graph_by_row_values

    parts = []
    for start in range(0, distance.shape[0], ROWS_PER_CHUNK):
        block = sparse.coo_array(distance[start : start + ROWS_PER_CHUNK])
        own = np.arange(block.shape[0])
        kept = (block.data <= largest) & (block.col != block.row + start)
        rows = np.concatenate([own, block.row[kept]])
        columns = np.concatenate([own + start, block.col[kept]])
        values = np.concatenate([np.zeros(len(own), dtype=block.data.dtype), block.data[kept]])
        parts.append(sparse.csr_array((values, (rows, columns)), shape=block.shape))
    graph = sparse.vstack(parts, format="csr")
    return sort_graph_by_row_values(graph, copy=False, warn_when_not_sorted=False)


@dataclass(frozen=True, slots=True)
class ClusterStatistics:
    """Numbers that describe a clustering.

    Attributes:
        images: N.
        clusters: C.
        outliers: images in no cluster.
        sizes: images per cluster: smallest, quartiles, largest.
        ari: adjusted Rand index against the identities; each outlier counts as one cluster.
        nmi: normalized mutual information, likewise.
    """

    images: int
    clusters: int
    outliers: int
    sizes: tuple[float, ...]
    ari: float | None = None
    nmi: float | None = None


def describe_clusters(
    labels: np.ndarray, identities: Sequence[int] | np.ndarray | None = None
) -> ClusterStatistics:
    """Count the clusters, and compare them with the identities if those are known.

    Args:
        labels: (N,) from `cluster`.
        identities: (N,) true identities, for information only.
    """
    sizes = np.bincount(labels[labels >= 0])
    quantiles = tuple(np.quantile(sizes, SIZE_QUANTILES).tolist()) if len(sizes) else ()
    outliers = int((labels < 0).sum())
    ari = nmi = None
    if identities is not None:
        from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

        apart = label_outliers(labels)
        ari = float(adjusted_rand_score(identities, apart))
        nmi = float(normalized_mutual_info_score(identities, apart))
    return ClusterStatistics(len(labels), len(sizes), outliers, quantiles, ari, nmi)


def label_outliers(labels: np.ndarray) -> np.ndarray:
    """Replace each -1 of (N,) labels by a label of its own: C, C + 1, ...."""
    outliers = np.flatnonzero(labels < 0)
    apart = labels.copy()
    apart[outliers] = labels.max(initial=-1) + 1 + np.arange(len(outliers))
    return apart

"""Pseudo labels: Jaccard distances of k-reciprocal neighbours and DBSCAN on them, both sparse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse
from sklearn.cluster import DBSCAN
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from sklearn.neighbors import sort_graph_by_row_values
from torch import Tensor

from processor.evaluation.distance import (
    FeatureArray,
    check_finite,
    chunk_slices,
    distance_blocks,
)
from processor.evaluation.reciprocal import (
    average_over_nearest,
    expanded_neighbours,
    neighbour_weights,
)

OUTLIER = -1
SIZE_QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)


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

    With rank(i) the k1 images nearest to i (itself first, and counted: one fewer than re-ranking
    takes), the neighbours are R(i) = {j in rank(i): i in rank(j)}, joined by R'(c) (the same with
    the first k1 / 2 + 1 of them) of every c in R(i) that shares more than two thirds of R'(c) with
    R(i). V_i = softmax(-d^2) over them, averaged over the first k2 of rank(i);
    J_ij = 1 - s / (2 - s) with s = sum_l min(V_il, V_jl), exactly 1 where no neighbour is shared.

    Args:
        features: (N, D), unit rows, any float type and device.
        k1: size of the neighbourhood; more than the images there are means all of them.
        k2: images averaged over, at most k1; 1 = no averaging.
        max_distance: pairs farther apart are left out too; DBSCAN's eps saves memory.
        chunk_mb: MiB of working memory for one chunk of distances.

    Returns:
        (N, N) float32, symmetric, zeros of the diagonal stored, columns ascending in each row;
        what is absent is 1, or above `max_distance`.

    Raises:
        ValueError: features that are no matrix or not finite, constants out of range.
    """
    if k1 < 1 or k2 < 1:
        raise ValueError(f"DSGL.K1 and DSGL.K2: expected 1 or more, got {k1} and {k2}")
    rows = torch.as_tensor(features).detach()
    if rows.ndim != 2 or rows.numel() == 0:
        raise ValueError(f"features: expected rows of a matrix, got shape {tuple(rows.shape)}")
    rows = rows.float()
    check_finite("features", rows)
    nearest = _find_nearest(rows, k1, chunk_mb)
    neighbours = expanded_neighbours(nearest, k1)
    ones = np.ones(len(rows), dtype=np.float32)
    weights = neighbour_weights(neighbours, rows.cpu().numpy(), ones)
    if k2 > 1:
        weights = average_over_nearest(weights, nearest[:, :k2])
    weights.sort_indices()  # sums run in the same order for (i, j) and (j, i)
    return _jaccard(weights, max_distance)


def _find_nearest(features: Tensor, num_nearest: int, chunk_mb: float) -> np.ndarray:
    """(N, k) int32, nearest first, the image itself before its duplicates."""
    num_images = len(features)
    num_nearest = min(num_nearest, num_images)
    nearest = np.empty((num_images, num_nearest), dtype=np.int32)
    slices = chunk_slices(num_images, 4 * num_images + 12 * num_nearest, chunk_mb)
    for block in distance_blocks(features, features, slices):
        block.values.diagonal(block.rows.start).fill_(-torch.inf)
        found = block.values.topk(num_nearest, dim=1, largest=False).indices
        nearest[block.rows] = found.cpu().numpy()
    return nearest


def _jaccard(weights: sparse.csr_array, max_distance: float) -> sparse.csr_array:
    """Distances of the rows of V by an inverted index: who else has weight at my neighbours."""
    index = weights.T.tocsr()
    columns, distances = [], []
    starts = np.zeros(len(weights.indptr), dtype=np.int64)
    for i in range(weights.shape[0]):
        mine = slice(weights.indptr[i], weights.indptr[i + 1])
        lists = index[weights.indices[mine]]
        lengths = np.diff(lists.indptr)
        np.minimum(lists.data, np.repeat(weights.data[mine], lengths), out=lists.data)
        overlap = lists.T @ np.ones(len(lengths), dtype=np.float32)
        overlap[i] = 1
        found = np.flatnonzero(overlap)
        shared = overlap[found]
        jaccard = np.maximum(1 - shared / (2 - shared), 0)
        kept = (jaccard < 1) & (jaccard <= max_distance)
        columns.append(found[kept].astype(np.int32))
        distances.append(jaccard[kept])
        starts[i + 1] = starts[i] + len(columns[-1])
    parts = (np.concatenate(distances), np.concatenate(columns), starts)
    return sparse.csr_array(parts, shape=weights.shape)


def cluster(distance: sparse.csr_array, eps: float, min_samples: int = 4) -> np.ndarray:
    """DBSCAN (Ester et al., KDD 1996) on sparse distances.

    Args:
        distance: (N, N), symmetric; absent off the diagonal = farther than eps.
        eps: largest distance of neighbours, 0..1 without the ends.
        min_samples: neighbours, itself included, that make an image a core of its cluster.

    Returns:
        (N,) int64 labels 0..C-1, -1 = outlier.

    Raises:
        ValueError: eps out of range, or no cluster, or a single one; says where to move eps.
    """
    if not 0 < eps < 1:
        raise ValueError(f"DSGL.EPS: expected a Jaccard distance between 0 and 1, got {eps}")
    if min_samples < 1:
        raise ValueError(f"DSGL.MIN_SAMPLES: expected 1 or more, got {min_samples}")
    graph = _sorted_graph(distance)
    labels = DBSCAN(eps=eps, min_samples=min_samples, metric="precomputed").fit_predict(graph)
    num_clusters = int(labels.max()) + 1
    if num_clusters == 0:
        nearest = _closest_core(graph, min_samples)
        raise ValueError(
            f"no cluster: all {len(labels)} images are outliers at DSGL.EPS {eps}; raise it "
            f"above {nearest:.2f}, where the first {min_samples} images come together, or lower "
            "DSGL.MIN_SAMPLES"
        )
    if num_clusters == 1:
        outliers = int((labels == OUTLIER).sum())
        raise ValueError(
            f"one cluster of {len(labels) - outliers} images and {outliers} outliers at DSGL.EPS "
            f"{eps}: there is nothing to tell apart; lower DSGL.EPS if the cluster is large, "
            "raise it if most images are outliers"
        )
    return labels.astype(np.int64)


def _sorted_graph(distance: sparse.csr_array) -> sparse.csr_array:
    """A copy with the diagonal stored and every row sorted by distance, as scikit-learn asks."""
    entries = sparse.coo_array(distance)
    off = entries.row != entries.col
    own = np.arange(distance.shape[0], dtype=entries.row.dtype)
    rows, columns = np.concatenate([own, entries.row[off]]), np.concatenate([own, entries.col[off]])
    values = np.concatenate([np.zeros(len(own), dtype=entries.data.dtype), entries.data[off]])
    graph = sparse.csr_array((values, (rows, columns)), shape=distance.shape)
    return sort_graph_by_row_values(graph, copy=False, warn_when_not_sorted=False)


def _closest_core(graph: sparse.csr_array, min_samples: int) -> float:
    """The smallest eps with a core image; 1 where no image has so many stored neighbours."""
    wide = np.diff(graph.indptr) >= min_samples
    last = graph.indptr[:-1][wide] + min_samples - 1
    return float(graph.data[last].min()) if len(last) else 1.0


@dataclass(frozen=True, slots=True)
class ClusterStatistics:
    """What a clustering looks like.

    Attributes:
        images: N.
        clusters: C.
        outliers: images in no cluster.
        sizes: images per cluster: smallest, quartiles, largest.
        ari: adjusted Rand index against the identities, each outlier a cluster of its own.
        nmi: normalized mutual information, the same.
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
    """Count the clusters, and compare them with identities where those are known.

    Args:
        labels: (N,) of `cluster`.
        identities: (N,) true identities, for information only.
    """
    sizes = np.bincount(labels[labels >= 0])
    quantiles = tuple(np.quantile(sizes, SIZE_QUANTILES).tolist()) if len(sizes) else ()
    outliers = int((labels < 0).sum())
    ari = nmi = None
    if identities is not None:
        apart = label_outliers(labels)
        ari = float(adjusted_rand_score(identities, apart))
        nmi = float(normalized_mutual_info_score(identities, apart))
    return ClusterStatistics(len(labels), len(sizes), outliers, quantiles, ari, nmi)


def label_outliers(labels: np.ndarray) -> np.ndarray:
    """(N,) labels with -1 -> the same with C, C + 1, ... in place of -1, a label per outlier."""
    outliers = np.flatnonzero(labels < 0)
    apart = labels.copy()
    apart[outliers] = labels.max(initial=-1) + 1 + np.arange(len(outliers))
    return apart

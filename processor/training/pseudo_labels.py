"""Pseudo labels: clusters of the training images, with the memory and bank built on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from loss import ClusteredBatch, ClusterMemory, InstanceBank, irrelevant_labels
from processor.clustering import (
    OUTLIER,
    ClusterStatistics,
    PoorClusteringError,
    cluster,
    describe_clusters,
    jaccard_distance,
)
from processor.features import FeatureTable, mean_by_label
from processor.runtime import distributed, gathering

SIZE_NAMES = ("smallest", "quartile1", "median", "quartile3", "largest")
"""Names of `ClusterStatistics.sizes` in the log."""


@dataclass(frozen=True, slots=True)
class ClusterOptions:
    """Parameters of the clustering.

    Attributes:
        eps: largest Jaccard distance of neighbours.
        min_samples: neighbours of a core image.
        k1: images in a neighbourhood, including the image itself.
        k2: nearest images over whose neighbourhoods weights are averaged.
        orders: irrelevant labels per image.
        chunk_mb: MiB of working memory for one chunk of distances.
    """

    eps: float
    min_samples: int = 4
    k1: int = 30
    k2: int = 6
    orders: int = 2
    chunk_mb: float = 256


@dataclass(frozen=True, slots=True)
class PseudoLabels:
    """One clustering of N training images.

    Attributes:
        labels: (N,) clusters, -1 = outlier or unreadable image; in main memory.
        irrelevant: (N, orders) of `irrelevant_labels`; in main memory.
        memory: prototypes of the clusters.
        bank: the images' features.
        statistics: numbers about the clusters, for the log.
    """

    labels: Tensor
    irrelevant: Tensor
    memory: ClusterMemory
    bank: InstanceBank
    statistics: dict[str, float]

    def batch(self, indices: Tensor) -> ClusteredBatch:
        """Pseudo labels of a batch, given (B,) positions in main memory."""
        return ClusteredBatch(indices, self.labels[indices], self.irrelevant[indices])

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {
            "labels": self.labels,
            "irrelevant": self.irrelevant,
            "prototypes": self.memory.prototypes,
            "bank": self.bank.state_dict(),
            "statistics": self.statistics,
        }


MakeMemory = Callable[[Tensor], ClusterMemory]
"""(C, D) centroids -> the memory of the clusters."""


def find_clusters(table: FeatureTable, options: ClusterOptions) -> np.ndarray:
    """Cluster the features; the first process does so and shares the result.

    Args:
        table: unit features of n readable training images.
        options: parameters of the clustering.

    Returns:
        (n,) clusters, -1 = outlier.

    Raises:
        PoorClusteringError: too few clusters; says how to change DSGL.EPS.
    """
    found = distributed.from_first(lambda: _cluster(table, options))
    if isinstance(found, PoorClusteringError):
        raise found  # on every process
    return found


@torch.no_grad()
def make_pseudo_labels(
    table: FeatureTable,
    found: np.ndarray,
    identities: Sequence[int],
    orders: int,
    make_memory: MakeMemory,
) -> PseudoLabels:
    """Memory and bank of clusters.

    Args:
        table: unit features of the n readable of N training images.
        found: (n,) of `find_clusters`.
        identities: (N,) identities if known, for the log only.
        orders: irrelevant labels per image.
        make_memory: builds the memory.
    """
    device = table.features.device
    features = torch.zeros(len(identities), table.features.shape[1], device=device)
    features[table.indices.to(device)] = table.features
    all_labels = np.full(len(identities), OUTLIER, dtype=np.int64)
    all_labels[table.indices.numpy()] = found
    known = len(set(identities)) > 1  # images without identities share one label
    statistics = describe_clusters(all_labels, identities if known else None)
    labels = torch.from_numpy(all_labels).to(device)
    clustered = labels >= 0
    centroids = mean_by_label(features[clustered], labels[clustered], statistics.clusters)
    # A GPU leaves the order of sums open, and all processes need the same memory.
    memory = make_memory(gathering.broadcast(centroids)).to(device)
    irrelevant = gathering.broadcast(irrelevant_labels(features, memory.mean, labels, orders))
    bank = InstanceBank(features, labels, irrelevant)
    return PseudoLabels(labels.cpu(), irrelevant.cpu(), memory, bank, _as_numbers(statistics))


def restore_pseudo_labels(
    state: dict[str, Any], make_memory: MakeMemory, device: torch.device
) -> PseudoLabels:
    """Rebuild pseudo labels on `device` from `PseudoLabels.state_dict`."""
    labels, irrelevant = state["labels"].cpu(), state["irrelevant"].cpu()
    memory = make_memory(state["prototypes"][0].to(device)).to(device)
    memory.prototypes.copy_(state["prototypes"])
    bank = InstanceBank(state["bank"]["features"].to(device), labels, irrelevant)
    bank.load_state_dict(state["bank"])
    return PseudoLabels(labels, irrelevant, memory, bank, state["statistics"])


def _cluster(table: FeatureTable, options: ClusterOptions) -> np.ndarray | PoorClusteringError:
    distances = jaccard_distance(
        table.features,
        options.k1,
        options.k2,
        max_distance=options.eps,
        chunk_mb=options.chunk_mb,
    )
    try:
        labels = cluster(distances, options.eps, options.min_samples)
    except PoorClusteringError as error:
        return error
    count = int(labels.max()) + 1
    if count <= options.orders:
        return PoorClusteringError(
            f"{count} clusters are too few for {options.orders} irrelevant labels per image; "
            "adjust DSGL.EPS to get more clusters, or lower DSGL.ORDERS"
        )
    return labels


def _as_numbers(statistics: ClusterStatistics) -> dict[str, float]:
    """The statistics under their names in the log."""
    numbers: dict[str, float] = {
        "clusters": statistics.clusters,
        "outliers": statistics.outliers,
        **{f"size_{n}": size for n, size in zip(SIZE_NAMES, statistics.sizes, strict=True)},
    }
    if statistics.ari is not None and statistics.nmi is not None:
        numbers |= {"ari": statistics.ari, "nmi": statistics.nmi}
    return numbers

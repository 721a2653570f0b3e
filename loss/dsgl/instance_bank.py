"""Features of all images, and their sums per pair of cluster and irrelevant label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from loss.dsgl.batch_rows import add_rows, last_of_equal, moved


@dataclass(frozen=True, slots=True)
class _Groups:
    """The G non-empty groups (cluster c, irrelevant label j) of one column of irrelevant labels."""

    keys: Tensor  # (G,) j * C + c, ascending; the last one, C * C, holds the outliers
    shared: np.ndarray  # (G,) j, in main memory: looking up there waits for no GPU
    clusters: np.ndarray  # (G,) c, likewise
    of_image: Tensor  # (N,) position in keys
    counts: Tensor  # (G,) images
    sums: Tensor  # (G, D) sums of their features

    def of_other_clusters(
        self, labels: np.ndarray, irrelevant: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The groups of other clusters that share an image's irrelevant label.

        Args:
            labels: (B,) clusters.
            irrelevant: (B,) j.

        Returns:
            (G',) ascending positions of all groups that share a label, and (2, n): for every image
            and each of its groups, the image's position and that in the first array.
        """
        wanted, which = np.unique(irrelevant, return_inverse=True)
        starts = np.searchsorted(self.shared, wanted)
        counts = np.searchsorted(self.shared, wanted + 1) - starts
        places = _ranges(starts, counts)
        found = _ranges((counts.cumsum() - counts)[which], counts[which])
        image = np.repeat(np.arange(len(labels)), counts[which])
        other = self.clusters[places[found]] != labels[image]
        return places, np.stack([image[other], found[other]])


@dataclass(frozen=True, slots=True)
class NegativePrototypes:
    """Means of the groups that are negatives of some image of a batch."""

    means: Tensor  # (G', D), not normalized
    lengths: Tensor  # (G',) of the means
    clusters: Tensor  # (G',)
    image: Tensor  # (n,) position in the batch, for every pair of an image and one of its negatives
    negative: Tensor  # (n,) position in means, likewise

    def of_images(self, count: int) -> Tensor:
        """(B, G') bool: the negatives of each of B images."""
        mine = torch.zeros(count, len(self.means), dtype=torch.bool, device=self.means.device)
        return mine.index_put_((self.image, self.negative), mine.new_ones(()))


class InstanceBank:
    """Every image's feature and the group sums from which DSGL's prototypes are read.

    An update costs O(B D): a changed feature changes one group and one cluster. Every clustering
    makes a new bank. All tensors are float32 on the device of `features`, without gradients.

    Args:
        features: (N, D), unit rows.
        labels: (N,) clusters 0..C-1, -1 = outlier.
        irrelevant: (N, count) of `irrelevant_labels`.

    Raises:
        ValueError: mismatched shapes, or outliers only.
    """

    def __init__(self, features: Tensor, labels: Tensor, irrelevant: Tensor) -> None:
        if len(labels) != len(features) or len(irrelevant) != len(features) or irrelevant.ndim != 2:
            raise ValueError(
                "instance bank: expected (N, D) features, (N,) labels and (N, count) irrelevant "
                f"labels, got {tuple(features.shape)}, {tuple(labels.shape)} and "
                f"{tuple(irrelevant.shape)}"
            )
        labels, irrelevant = labels.to(features.device), irrelevant.to(features.device)
        if not bool((labels >= 0).any()):
            raise ValueError("instance bank: all images are outliers; raise DSGL.EPS")
        self.features = features.detach().float().clone()
        self.num_clusters = 1 + int(torch.maximum(labels.max(), irrelevant.max()))
        self._cluster_of = torch.where(labels >= 0, labels, self.num_clusters)
        self._cluster_counts = torch.bincount(self._cluster_of, minlength=self.num_clusters + 1)
        self._cluster_sums = features.new_zeros(
            self.num_clusters + 1, features.shape[1], dtype=torch.float32
        )
        add_rows(self._cluster_sums, self._cluster_of, self.features)
        self._columns = [self._group(labels, column) for column in irrelevant.T]

    def _group(self, labels: Tensor, irrelevant: Tensor) -> _Groups:
        keys = irrelevant * self.num_clusters + labels
        keys = torch.where(labels >= 0, keys, self.num_clusters**2)
        keys, of_image, counts = torch.unique(keys, return_inverse=True, return_counts=True)
        sums = self.features.new_zeros(len(keys), self.features.shape[1])
        add_rows(sums, of_image, self.features)
        shared, clusters = np.divmod(keys.cpu().numpy(), self.num_clusters)
        return _Groups(keys, shared, clusters, of_image, counts, sums)

    def state_dict(self) -> dict[str, Tensor | list[Tensor]]:
        """State for a checkpoint; recomputed sums would differ in their last bits."""
        return {
            "features": self.features,
            "cluster_sums": self._cluster_sums,
            "group_sums": [groups.sums for groups in self._columns],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore `state_dict` in a bank of the same labels."""
        self.features.copy_(state["features"])
        self._cluster_sums.copy_(state["cluster_sums"])
        for groups, sums in zip(self._columns, state["group_sums"], strict=True):
            groups.sums.copy_(sums)

    def positives(self, labels: Tensor, irrelevant: Tensor, column: int) -> tuple[Tensor, Tensor]:
        """Mean over the images of the same cluster with another irrelevant label.

        Args:
            labels: (B,).
            irrelevant: (B,) labels j to differ from.
            column: the bank's column of irrelevant labels to compare with.

        Returns:
            (B, D) means, not normalized, and (B,) bool: False if there is no such image.
        """
        groups = self._columns[column]
        wanted = irrelevant * self.num_clusters + labels
        places = torch.searchsorted(groups.keys, wanted).clamp(max=len(groups.keys) - 1)
        exists = groups.keys[places] == wanted
        counts = self._cluster_counts[labels] - groups.counts[places] * exists
        sums = self._cluster_sums[labels] - groups.sums[places] * exists[:, None]
        return sums / counts.clamp(min=1)[:, None], counts > 0

    def negatives(self, labels: Tensor, irrelevant: Tensor, column: int) -> NegativePrototypes:
        """Means over the images of other clusters with the same irrelevant label, per cluster.

        Args:
            labels: (B,); in main memory, no GPU is waited for.
            irrelevant: (B,) labels j to share; likewise.
            column: the bank's column of irrelevant labels to compare with.
        """
        groups = self._columns[column]
        places, pairs = groups.of_other_clusters(labels.cpu().numpy(), irrelevant.cpu().numpy())
        chosen = moved(torch.from_numpy(places), self.features.device)
        means = groups.sums[chosen].div_(groups.counts[chosen, None])
        lengths = torch.linalg.vector_norm(means, dim=1)
        clusters = groups.keys[chosen] % self.num_clusters
        image, negative = moved(torch.from_numpy(pairs), self.features.device)
        return NegativePrototypes(means, lengths, clusters, image, negative)

    @torch.no_grad()
    def update(self, indices: Tensor, features: Tensor) -> None:
        """Replace the features of some images; if an image occurs twice, its last feature wins.

        Args:
            indices: (B,) positions in the bank.
            features: (B, D).
        """
        last = last_of_equal(indices)
        once = last == torch.arange(len(indices), device=indices.device)
        fresh = features.detach().float()[last]
        change = (fresh - self.features[indices]) * once[:, None]
        self.features[indices] = fresh
        add_rows(self._cluster_sums, self._cluster_of[indices], change)
        for groups in self._columns:
            add_rows(groups.sums, groups.of_image[indices], change)


def _ranges(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The numbers starts[0], ..., starts[0] + counts[0] - 1, starts[1], ..., one after another."""
    before = counts.cumsum() - counts
    return np.repeat(starts - before, counts) + np.arange(counts.sum())

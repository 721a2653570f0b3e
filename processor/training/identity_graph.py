"""Keeps a sampler's graph of look-alike identities up to date (CLIP-DFGS, TOMM 2024)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader

from datasets.records import Batch
from datasets.samplers import RandomIdentitySampler, nearest_identities
from datasets.samplers.chunks import indices_by_label
from datasets.samplers.neighbours import (
    NUM_HITS,
    join_features,
    mean_hits,
    mutual_neighbours,
)
from model import CLIPReID
from processor.features import extract_features, mean_by_label
from processor.runtime import distributed
from processor.runtime.precision import Precision


class GraphSampler(Protocol):
    """A sampler that plans P x K batches over a graph of identities."""

    num_pids: int
    num_instances: int

    def set_graph(self, neighbours: Tensor, nearest: Tensor | None = None) -> None:
        """Set the graph: (I, .) neighbours to batch together, (I, k) true nearest ones."""


@dataclass
class IdentityGraph:
    """Computes a sampler's graph from features of the identities.

    Attributes:
        sampler: the sampler that uses the graph.
        features: epoch -> one or several kinds of (I, D) features, one row per label; several
            are joined by `join_features`.
        num_neighbours: neighbours per identity in the graph.
        skip: nearest identities excluded from the graph.
        mutual: keep only mutual neighbours.
        normalize: L2-normalize the features first.
        period: epochs between graphs; None = the first one stays.
        random_sampler: random P x K batches of the same images, as a reference for hits.
        labels: label of every image.
    """

    sampler: GraphSampler
    features: Callable[[int], Sequence[Tensor]]
    num_neighbours: int
    skip: int
    mutual: bool
    normalize: bool
    period: int | None
    random_sampler: RandomIdentitySampler
    labels: list[int]
    _neighbours: Tensor | None = field(default=None, init=False)
    _nearest: Tensor | None = field(default=None, init=False)
    _seconds: float = field(default=0.0, init=False)

    def refresh(self, epoch: int) -> None:
        """Compute a new graph if one is due in this epoch."""
        due = self.period is not None and (epoch - 1) % self.period == 0
        if self._neighbours is not None and not due:
            return
        started = time.perf_counter()
        kinds = self.features(epoch)
        if self.normalize:
            kinds = [F.normalize(part) for part in kinds]
        features = join_features(kinds)
        columns = max(self.num_neighbours + self.skip, NUM_HITS)
        columns = min(columns, len(features) - 1)
        nearest = distributed.broadcast(nearest_identities(features, columns).cpu())
        neighbours = nearest[:, self.skip :][:, : self.num_neighbours]
        if self.mutual:
            neighbours = mutual_neighbours(neighbours)
        self._set(neighbours, nearest[:, :NUM_HITS])
        self._seconds = time.perf_counter() - started

    def statistics(self, epoch: int) -> dict[str, float]:
        """Hits of random P x K batches of the same images, and the seconds the graph took."""
        self.random_sampler.set_epoch(epoch)
        step = self.random_sampler.num_instances
        batches = [[self.labels[i] for i in batch[::step]] for batch in self.random_sampler]
        nearest = [] if self._nearest is None else self._nearest.tolist()
        return {"random_hits": mean_hits(batches, nearest), "graph_seconds": self._seconds}

    def state_dict(self) -> dict[str, Any]:
        """The graph; inside an epoch it cannot be recomputed, as the encoder has changed."""
        return {"neighbours": self._neighbours, "nearest": self._nearest}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a graph."""
        if state["neighbours"] is not None:
            self._set(state["neighbours"], state["nearest"])

    def _set(self, neighbours: Tensor, nearest: Tensor) -> None:
        self._neighbours, self._nearest = neighbours, nearest
        self.sampler.set_graph(neighbours, nearest)


@dataclass(frozen=True)
class ImageFeaturesOfIdentities:
    """Features of identities from the current image encoder, in evaluation mode.

    Attributes:
        model: the network; its feature is final and projected concatenated, before the BNNecks.
        labels: labels of the training images.
        loader: positions of training images -> loader of them without augmentation.
        precision: device and number format.
        images_per_id: images drawn per identity; their mean feature represents it.
        seed: with the epoch, decides which images are drawn.
    """

    model: CLIPReID
    labels: Sequence[int]
    loader: Callable[[Sequence[int]], DataLoader[Batch]]
    precision: Precision
    images_per_id: int
    seed: int

    def __call__(self, epoch: int) -> Tensor:
        """(I, D) features, one row per label."""
        rng = Random(f"graph images {self.seed} {epoch}")
        chosen: list[int] = []
        for group in indices_by_label(self.labels):
            chosen += rng.sample(group, min(self.images_per_id, len(group)))
        labels = [self.labels[i] for i in chosen]
        self.model.eval()
        table = extract_features(
            self._encode,
            lambda own: self.loader(chosen[own.start : own.stop]),
            len(chosen),
            self.precision,
            title="image features for the graph",
        )
        kept = torch.tensor(labels)[table.indices].to(table.features.device)
        return mean_by_label(table.features, kept, max(self.labels) + 1)

    def _encode(self, batch: Batch) -> Tensor:
        features = self.model.encode_image(batch.images, batch.camids, batch.viewids)
        return torch.cat([features.final, features.projected], dim=1)

"""A split on its way from features to a ranking."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from datasets.records import DataSplits, Sample
from processor.metrics.distance import (
    DistanceSource,
    distance_blocks,
    normalize_features,
)
from processor.metrics.matches import Candidates, Identities
from processor.metrics.reranking import rerank_blocks


@dataclass(frozen=True, slots=True)
class Retrieval:
    """The images of a split that could be read, and their features.

    Attributes:
        query: images to search with.
        gallery: images to search in.
        query_features: (Q, D) float32, of length 1 where the protocol normalizes.
        gallery_features: (G, D).
        ignore_same_camera: gallery images with the pid and camid of a query are junk for it.
        single_gallery_shot: CMC over galleries with one random image per identity.
    """

    query: list[Sample]
    gallery: list[Sample]
    query_features: Tensor
    gallery_features: Tensor
    ignore_same_camera: bool
    single_gallery_shot: bool = False

    def ids(self) -> list[Tensor]:
        """See `ids_of`."""
        return ids_of(self.query, self.gallery)

    def candidates(self) -> Candidates:
        """Where the queries' identities stand in the gallery."""
        ids = Identities.check(*self.ids())
        return Candidates.find(ids, ignore_same_camera=self.ignore_same_camera)


def ids_of(query: Sequence[Sample], gallery: Sequence[Sample]) -> list[Tensor]:
    """Pids of both sides, then camids of both sides: (Q,), (G,), (Q,), (G,)."""
    return [
        torch.tensor([sample.pid for sample in query], dtype=torch.long),
        torch.tensor([sample.pid for sample in gallery], dtype=torch.long),
        torch.tensor([sample.camid for sample in query], dtype=torch.long),
        torch.tensor([sample.camid for sample in gallery], dtype=torch.long),
    ]


@dataclass(frozen=True, slots=True)
class PooledQueries:
    """One query per identity and camera, ascending by pid, then camid.

    Attributes:
        features: (P, D) mean features.
        pids: (P,) identities.
        camids: (P,) cameras.
    """

    features: Tensor
    pids: Tensor
    camids: Tensor


def pool_queries(
    features: Tensor, pids: Tensor, camids: Tensor, *, normalize: bool
) -> PooledQueries:
    """Replace the queries of one identity and camera by the mean of their features.

    Average pooling of multiple queries (Zheng et al., ICCV 2015). One camera each, so that the
    junk rule says the same for all images of a pooled query. Where the queries are one per identity
    and camera, as in Market-1501, nothing is left to pool: its published multi-query scores pool
    the hand-drawn boxes of its folder gt_bbox.

    Args:
        features: (Q, D) float, already of length 1 if `normalize`.
        pids: (Q,) identities.
        camids: (Q,) cameras.
        normalize: scale the means to length 1: the mean of directions is shorter.

    Raises:
        ValueError: no queries, or arrays of different lengths.
    """
    if not 0 < len(features) == len(pids) == len(camids):
        raise ValueError(
            "expected queries with one pid and one camid each, got "
            f"{len(features)} features, {len(pids)} pids and {len(camids)} camids"
        )
    groups, group, sizes = torch.unique(
        torch.stack([pids, camids], dim=1), dim=0, return_inverse=True, return_counts=True
    )
    # group by group, as scattered sums on a GPU differ from run to run
    grouped = features[group.argsort(stable=True).to(features.device)].split(sizes.tolist())
    means = torch.stack([part.mean(dim=0) for part in grouped])
    if normalize:
        means = normalize_features(means)
    return PooledQueries(means, groups[:, 0], groups[:, 1])


@dataclass(frozen=True, slots=True)
class Target:
    """A data set to evaluate on.

    Attributes:
        name: the data set.
        splits: one per split of its protocol.
        cameras: rows of its cameras in the model's camera table; None when the model was not
            trained on it, so that its cameras mean nothing to the model.
        fingerprint: hash of its test images' names and ids, over all splits.
        remarks: what a reader of the results must know of the target in this run.
    """

    name: str
    splits: list[DataSplits]
    cameras: range | None = None
    fingerprint: str = ""
    remarks: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """The notes of all splits, then the remarks, each once."""
        of_splits = [note for split in self.splits for note in split.notes]
        return tuple(dict.fromkeys([*of_splits, *self.remarks]))


@dataclass(frozen=True, slots=True)
class Protocol:
    """How features become scores.

    Attributes:
        normalize: L2-normalize features before comparing.
        ignore_same_camera: apply the junk rule to the data sets that have one.
        chunk_mb: memory of one block of distances, in MB.
        rerank: (k1, k2, lambda) of k-reciprocal re-ranking; None = off.
        multi_query: one query per identity and camera, by the mean of its images' features; the
            numbers of queries are those of these.
    """

    normalize: bool = True
    ignore_same_camera: bool = True
    chunk_mb: int = 512
    rerank: tuple[int, int, float] | None = None
    multi_query: bool = False

    def distances(self, query: Tensor, gallery: Tensor) -> DistanceSource:
        """What (Q, D) and (G, D) features are ranked by; re-ranking does its work here."""
        if self.rerank is None:
            return partial(distance_blocks, query, gallery)
        return rerank_blocks(query, gallery, *self.rerank, chunk_mb=self.chunk_mb)

    def as_dict(self) -> dict[str, Any]:
        """What results.json says of it."""
        return {
            "normalized": self.normalize,
            "ignore_same_camera": self.ignore_same_camera,
            "rerank": list(self.rerank) if self.rerank else None,
            "multi_query": self.multi_query,
        }

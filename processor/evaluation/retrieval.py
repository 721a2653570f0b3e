"""A split on its way from features to a ranking."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from datasets.records import Sample
from processor.evaluation.candidates import Candidates, Identities


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

"""The data to evaluate on: data sets, and splits with their features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from datasets.records import DataSplits, Sample
from processor.metrics.identities import Identities
from processor.metrics.twins import count_twins


@dataclass(frozen=True, slots=True)
class Target:
    """A data set to evaluate on.

    Attributes:
        name: of the data set.
        splits: one per split of its protocol.
        cameras: rows of its cameras in the model's camera table; None if the model was not trained
            on it and does not know its cameras.
        fingerprint: hash of its test images' names and ids, over all splits.
        remarks: facts about the target in this run that a reader of the results must know.
    """

    name: str
    splits: list[DataSplits]
    cameras: range | None = None
    fingerprint: str = ""
    remarks: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """The notes of all splits, then the remarks, without duplicates."""
        of_splits = [note for split in self.splits for note in split.notes]
        return tuple(dict.fromkeys([*of_splits, *self.remarks]))


@dataclass(frozen=True, slots=True)
class Retrieval:
    """The readable images of a split, and their features.

    Attributes:
        query: images to search with.
        gallery: images to search in.
        query_features: (Q, D) float32, of length 1 if the protocol normalizes.
        gallery_features: (G, D).
        ignore_same_camera: apply the junk rule.
        single_gallery_shot: CMC over galleries with one random image per identity.
    """

    query: list[Sample]
    gallery: list[Sample]
    query_features: Tensor
    gallery_features: Tensor
    ignore_same_camera: bool
    single_gallery_shot: bool = False

    def identities(self) -> Identities:
        """Ids of both sides."""
        return identities_of(self.query, self.gallery, ignore_same_camera=self.ignore_same_camera)

    def count_twins(self) -> int:
        """Number of queries with a match of equal content."""
        return count_twins(self.query_features, self.gallery_features, self.identities())


def identities_of(
    query: Sequence[Sample], gallery: Sequence[Sample], *, ignore_same_camera: bool
) -> Identities:
    """Ids of query and gallery images; an image that is both does not match itself."""
    columns = [
        [getattr(sample, name) for sample in side]
        for name in ("pid", "camid")
        for side in (query, gallery)
    ]
    ids = Identities.check(*columns, ignore_same_camera=ignore_same_camera)
    both = [*query, *gallery]
    place_of = {sample.path: place for place, sample in enumerate(gallery)}
    own_places = np.array([place_of.get(sample.path, -1) for sample in query])
    return replace(
        ids,
        own_places=own_places if (own_places >= 0).any() else None,
        pid_names={x.pid: x.pid_name for x in both if x.pid_name},
        camid_names={x.camid: x.camid_name for x in both if x.camid_name},
    )

"""What the data layer hands to the rest of the program: samples, splits and batches."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Sample:
    """One image file and what is known about it.

    Attributes:
        path: the image file.
        pid: identity number as the data set writes it (not contiguous).
        camid: 0-based camera.
        viewid: 0-based viewpoint; 0 where the data set has none, -1 where this image has no label.
    """

    path: str
    pid: int
    camid: int
    viewid: int = 0


@dataclass(frozen=True, slots=True)
class DataSplits:
    """One data set as a benchmark defines it.

    Attributes:
        name: registry name, or the name given to own data.
        train: training images.
        query: images to search with.
        gallery: images to search in.
        ignore_same_camera: the junk rule of this data set; True drops gallery images that share
            identity and camera with the query, False keeps them (cameras unknown, or the protocol).
        notes: facts a reader of results must know (flavour, version, remarks on the counts); of
            several splits, what holds for all of them, as results are their mean.
        distractors: pids of query and gallery that are no single person; never trained on.
        separate_test_ids: query and gallery number their identities apart from the training split.
        single_gallery_shot: CMC over galleries with one random image per identity (CUHK03 classic).
    """

    name: str
    train: list[Sample]
    query: list[Sample]
    gallery: list[Sample]
    ignore_same_camera: bool = True
    notes: tuple[str, ...] = ()
    distractors: frozenset[int] = frozenset()
    separate_test_ids: bool = False
    single_gallery_shot: bool = False


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch of training or evaluation images.

    Attributes:
        images: (B, 3, H, W) float, normalized.
        labels: (B,) contiguous identity labels in training, pids in evaluation.
        camids: (B,) cameras.
        viewids: (B,) viewpoints.
        indices: (B,) positions in the data set.
        bad_images: files that could not be decoded and were left out.
    """

    images: Tensor
    labels: Tensor
    camids: Tensor
    viewids: Tensor
    indices: Tensor
    bad_images: tuple[str, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device | str) -> Batch:
        """The same batch with its tensors on `device`."""
        return Batch(
            self.images.to(device, non_blocking=True),
            self.labels.to(device, non_blocking=True),
            self.camids.to(device, non_blocking=True),
            self.viewids.to(device, non_blocking=True),
            self.indices,
            self.bad_images,
        )

    def pin_memory(self) -> Batch:
        """The same batch in page-locked memory; called by the data loader."""
        return Batch(
            self.images.pin_memory(),
            self.labels.pin_memory(),
            self.camids.pin_memory(),
            self.viewids.pin_memory(),
            self.indices,
            self.bad_images,
        )


class SeededIndex(NamedTuple):
    """An image to load and the seed of its augmentation."""

    position: int
    seed: int

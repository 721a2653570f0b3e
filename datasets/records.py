"""Records that the data layer hands to the rest of the program: samples, splits, batches."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:  # commands that read no images start without torch
    import torch
    from torch import Tensor

UNKNOWN = -1  # pid, camid or viewid


@dataclass(frozen=True, slots=True)
class Sample:
    """One image file and its labels.

    Attributes:
        path: the image file.
        pid: identity number of the data set, not contiguous.
        camid: 0-based camera.
        viewid: 0-based viewpoint; 0 if the data set has none, -1 if this image has no label.
        pid_name: the identity as its owner calls it; empty = by its number.
        camid_name: the camera, likewise.
        camera_known: False if camid does not stand for a camera.
    """

    path: str
    pid: int
    camid: int
    viewid: int = 0
    pid_name: str = field(default="", compare=False)
    camid_name: str = field(default="", compare=False)
    camera_known: bool = field(default=True, compare=False)

    @property
    def identity(self) -> str:
        """The name of the identity; empty = unknown."""
        return self.pid_name or ("" if self.pid == UNKNOWN else str(self.pid))

    @property
    def camera(self) -> str:
        """The name of the camera, numbers as file names count them (from 1); empty = unknown."""
        known = self.camera_known and self.camid >= 0
        return self.camid_name or (str(self.camid + 1) if known else "")


@dataclass(frozen=True, slots=True)
class DataSplits:
    """The splits of one data set.

    Attributes:
        name: registry name, or the name given to own data.
        train: training images.
        query: query images.
        gallery: gallery images.
        ignore_same_camera: the junk rule: drop gallery images that share identity and camera with
            the query; False if cameras are unknown or the protocol keeps such images.
        notes: facts that a reader of results needs (flavour, version, deviating sizes); if there
            are several splits, true for all of them, because results are their mean.
        distractors: pids that do not stand for one person; never trained on.
        separate_test_ids: test identities are numbered independently of training identities.
        single_gallery_shot: CMC over galleries with one random image per identity (CUHK03 classic).
        unread: files of own data that are not images which can be read.
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
    unread: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch of training or evaluation images.

    Attributes:
        images: (B, 3, H, W) float, normalized.
        labels: (B,) contiguous identity labels in training, pids in evaluation.
        camids: (B,) cameras.
        viewids: (B,) viewpoints.
        indices: (B,) positions in the data set.
        bad_images: files left out because they could not be decoded.
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
        """A copy with its tensors on `device`; a CUDA device need not have finished copying."""
        # elsewhere, as on MPS, the source may be freed and overwritten before it is copied
        at_once = str(device).startswith("cuda")
        return Batch(
            self.images.to(device, non_blocking=at_once),
            self.labels.to(device, non_blocking=at_once),
            self.camids.to(device, non_blocking=at_once),
            self.viewids.to(device, non_blocking=at_once),
            self.indices,
            self.bad_images,
        )

    def pin_memory(self) -> Batch:
        """A copy in page-locked memory; called by the data loader."""
        return Batch(
            self.images.pin_memory(),
            self.labels.pin_memory(),
            self.camids.pin_memory(),
            self.viewids.pin_memory(),
            self.indices,
            self.bad_images,
        )


def natural_order(name: str) -> list[str | int]:
    """A key that sorts names alphabetically and the numbers in them by value."""
    parts = re.split(r"([0-9]+)", name)
    return [int(part) if place % 2 else part for place, part in enumerate(parts)]


class SeededIndex(NamedTuple):
    """An image to load and the seed of its augmentation."""

    position: int
    seed: int

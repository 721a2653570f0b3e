"""Training images that are decoded and resized once and then stay in memory."""

from __future__ import annotations

import math
import mmap
import multiprocessing
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.transforms import InterpolationMode
from tqdm import tqdm

from datasets.images.dataset import ImageDataset, collate, outlive_sigterm
from datasets.images.decode import BadImageError

# Small, as batches travel through /dev/shm, which containers keep small.
_IMAGES_PER_READ = 16


@dataclass(frozen=True, slots=True)
class ImageCache:
    """Resized images in memory, by position in the training set.

    Attributes:
        images: (N, H, W, 3) uint8; on a CPU, worker processes read it without a copy.
        readable: (N,) bool, on the CPU; False where a broken file was skipped.
    """

    images: Tensor
    readable: Tensor

    def picture(self, position: int) -> Image.Image:
        """The resized image, as it would come from its file.

        Raises:
            BadImageError: the file was broken.
        """
        if not self.readable[position]:
            raise BadImageError(f"image {position} could not be decoded")
        return Image.fromarray(self.images[position].numpy())

    def to(self, device: torch.device) -> ImageCache:
        """The same with its images on `device`."""
        return ImageCache(self.images.to(device), self.readable)


@dataclass(frozen=True, slots=True)
class CachedPictures:
    """Some images of a cache, counted from 0; what an `ImageDataset` of them reads."""

    cache: ImageCache
    positions: Sequence[int]

    def __call__(self, index: int) -> Image.Image:
        return self.cache.picture(self.positions[index])


@dataclass
class ResidentImages:
    """The caches of a run, each made when it is first needed.

    Attributes:
        read: (interpolation, device) -> a cache of all training images.
        place: where augmentation reads them: none | ram | device; none = from files.
        device: the model's.
        training: interpolation of the augmented images.
        evaluation: that of images without augmentation; None when they come from files.
        summary: what was chosen and why, for the log.
    """

    read: Callable[[InterpolationMode, torch.device], ImageCache]
    place: str
    device: torch.device
    training: InterpolationMode
    evaluation: InterpolationMode | None
    summary: str
    _in_ram: dict[InterpolationMode, ImageCache] = field(default_factory=dict, init=False)
    _on_device: ImageCache | None = field(default=None, init=False)

    def for_training(self) -> ImageCache | None:
        """Images to augment, in RAM or on the device; None when they come from files."""
        if self.place == "none":
            return None
        if self.place == "ram":
            return self._ram(self.training)
        if self._on_device is None:
            shared = self.training == self.evaluation
            self._on_device = (
                self._ram(self.training).to(self.device)
                if shared
                else self.read(self.training, self.device)
            )
        return self._on_device

    def for_evaluation(self) -> ImageCache | None:
        """Images to take as they are, in RAM; None when they come from files.

        Never on the device, where the arithmetic of normalization may differ in the last bit.
        """
        return None if self.evaluation is None else self._ram(self.evaluation)

    def _ram(self, interpolation: InterpolationMode) -> ImageCache:
        if interpolation not in self._in_ram:
            self._in_ram[interpolation] = self.read(interpolation, torch.device("cpu"))
        return self._in_ram[interpolation]


def read_images(
    dataset: ImageDataset,
    size: tuple[int, int],
    device: torch.device,
    *,
    num_workers: int = 0,
    check: Callable[[], None] = lambda: None,
) -> ImageCache:
    """Decode and resize all images of a data set.

    Args:
        dataset: its transform is a resize and `to_levels`.
        size: (height, width) in pixels.
        device: where the images are to stay; in memory shared with workers on a CPU.
        num_workers: processes that decode.
        check: called between batches; may raise to stop.

    Raises:
        BadImageError: a file is broken and the data set does not skip such files.
    """
    shape = (len(dataset), *size, 3)
    images = (
        shared_levels(shape)
        if device.type == "cpu"
        else torch.empty(shape, dtype=torch.uint8, device=device)
    )
    readable = torch.zeros(len(dataset), dtype=torch.bool)
    loader = DataLoader(
        dataset,
        batch_size=_IMAGES_PER_READ,
        collate_fn=collate,
        num_workers=num_workers,
        worker_init_fn=outlive_sigterm,
        generator=torch.Generator(),  # the global one stays as it is
    )
    for batch in tqdm(loader, desc="images into memory", leave=False, disable=None):
        if len(batch):
            images[batch.indices.to(device)] = batch.images.to(device)
            readable[batch.indices] = True
        check()
    return ImageCache(images, readable)


def to_levels(picture: Image.Image) -> Tensor:
    """PIL image -> (H, W, 3) uint8."""
    return torch.from_numpy(np.array(picture))


def shared_levels(shape: tuple[int, ...]) -> Tensor:
    """Zeros, uint8, in memory that worker processes share."""
    if forks():
        # Not in /dev/shm, which containers keep small: workers inherit the mapping itself.
        return torch.frombuffer(mmap.mmap(-1, math.prod(shape)), dtype=torch.uint8).view(shape)
    return torch.zeros(shape, dtype=torch.uint8).share_memory_()


def forks() -> bool:
    """Whether worker processes inherit this one's memory."""
    return multiprocessing.get_start_method() == "fork"

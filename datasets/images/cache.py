"""Training images that are decoded and resized once and then stay in memory."""

from __future__ import annotations

import math
import mmap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode
from tqdm.auto import tqdm

from datasets.images.dataset import ImageDataset, Loading, ordered_loader
from datasets.images.decode import BadImageError
from datasets.images.workers import start_method

# Small, because batches travel through /dev/shm, which is small in containers.
IMAGES_PER_READ = 16


@dataclass(frozen=True, slots=True)
class ImageCache:
    """Resized images in memory, by position in the training set.

    Attributes:
        images: (N, H, W, 3) uint8; on a CPU, worker processes read it without a copy.
        readable: (N,) bool, on the CPU; False for broken files that were skipped.
    """

    images: Tensor
    readable: Tensor

    def image(self, position: int) -> Image.Image:
        """The resized image, equal to one that is read from its file.

        Raises:
            BadImageError: the file was broken.
        """
        if not self.readable[position]:
            raise BadImageError(f"image {position} could not be decoded")
        return Image.fromarray(self.images[position].numpy())

    def to(self, device: torch.device) -> ImageCache:
        """The cache with its images on `device`."""
        return ImageCache(self.images.to(device), self.readable)


@dataclass(frozen=True, slots=True)
class CachedImages:
    """Some images of a cache, numbered from 0; an `ImageSource`."""

    cache: ImageCache
    positions: Sequence[int]

    def __call__(self, index: int) -> Image.Image:
        return self.cache.image(self.positions[index])


@dataclass
class ImageStore:
    """Where a run keeps its training images; every cache is filled when it is first needed.

    Attributes:
        read: (interpolation, device) -> a cache of all training images.
        place: where augmentation finds them: none (in their files) | ram | device.
        device: the model's.
        training: interpolation of images to augment.
        evaluation: interpolation of images without augmentation; None = these stay in their files.
        summary: the place and the reason for it.
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
        """Images to augment, in RAM or on the device; None if they are read from files."""
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
        """Images without augmentation, in RAM; None if they are read from files.

        Never on the device, where normalization may round the last bit differently.
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
        device: where to keep the images; on a CPU, in memory shared with workers.
        num_workers: processes that decode.
        check: called between batches; may raise to stop.

    Raises:
        BadImageError: a file is broken and not skipped.
    """
    shape = (len(dataset), *size, 3)
    images = (
        shared_levels(shape)
        if device.type == "cpu"
        else torch.empty(shape, dtype=torch.uint8, device=device)
    )
    readable = torch.zeros(len(dataset), dtype=torch.bool)
    # Its own generator, so that torch's global one does not depend on the cache.
    loader = ordered_loader(dataset, IMAGES_PER_READ, Loading(num_workers), torch.Generator())
    for batch in tqdm(loader, desc="images into memory", leave=False, disable=None):
        if len(batch):
            images[batch.indices.to(device)] = batch.images.to(device)
            readable[batch.indices] = True
        check()
    return ImageCache(images, readable)


def to_levels(image: Image.Image) -> Tensor:
    """PIL image -> (H, W, 3) uint8."""
    return torch.from_numpy(np.array(image))


def shared_levels(shape: tuple[int, ...]) -> Tensor:
    """Zeros, uint8, in memory shared with worker processes."""
    if forks():
        # Workers inherit the mapping itself, so no space in /dev/shm is needed.
        return torch.frombuffer(mmap.mmap(-1, math.prod(shape)), dtype=torch.uint8).view(shape)
    return torch.zeros(shape, dtype=torch.uint8).share_memory_()


def forks() -> bool:
    """Whether worker processes inherit this process's memory."""
    return start_method() == "fork"

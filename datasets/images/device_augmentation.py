"""Augmentation of whole batches on the device, with the distribution of `transforms`.

The host draws random numbers from the images' seeds; the device changes the pixels. The host never
waits for the device.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from datasets.images.transforms import ERASED_ASPECT, Augmentation

LevelNormalization = Callable[[Tensor], Tensor]
"""(B, H, W, 3) uint8 -> (B, 3, H, W) float, normalized."""

_ATTEMPTS = 10  # rectangles to draw until one fits into the image
_DRAWS = 6 + 2 * _ATTEMPTS  # uniform random numbers per image


class Changes(NamedTuple):
    """The random changes of a batch; (B,) integers each.

    Attributes:
        flip: 1 = mirror the image.
        top: first row of the crop in the padded image, 0 to twice the padding.
        left: first column of the crop.
        erased_top: first row of the erased rectangle.
        erased_left: first column of the erased rectangle.
        erased_height: rows of the erased rectangle; 0 = erase nothing.
        erased_width: columns of the erased rectangle.
        key: first key of the noise, signed 32 bits.
        other_key: second key of the noise.
    """

    flip: Any
    top: Any
    left: Any
    erased_top: Any
    erased_left: Any
    erased_height: Any
    erased_width: Any
    key: Any
    other_key: Any


def draw_changes(
    seeds: npt.NDArray[np.int64], size: tuple[int, int], augmentation: Augmentation
) -> npt.NDArray[np.int64]:
    """Draw the changes of a batch; those of an image depend on its seed only.

    Args:
        seeds: (B,) one per image.
        size: (height, width) in pixels.
        augmentation: flip, padding and erasing count.

    Returns:
        (9, B), the rows of `Changes`.
    """
    bits = split_mix(seeds, _DRAWS + 1)
    uniform = (bits[:_DRAWS] >> np.uint64(11)).astype(np.float64) * 2.0**-53
    flip, top, left, apply, erased_top, erased_left = uniform[:6]
    numbers = uniform[6:].reshape(2, _ATTEMPTS, -1)
    heights, widths = _erased_sizes(numbers, size, augmentation.erased_area)
    fits = (heights < size[0]) & (widths < size[1])
    chosen = (fits.argmax(0), np.arange(len(seeds)))  # the first that fits
    erased = fits[chosen] & (apply < augmentation.erasing)
    height, width = heights[chosen] * erased, widths[chosen] * erased
    places = 2 * augmentation.padding + 1
    changes = Changes(
        flip=flip < augmentation.flip,
        top=top * places,
        left=left * places,
        erased_top=erased_top * (size[0] - height + 1),
        erased_left=erased_left * (size[1] - width + 1),
        erased_height=height,
        erased_width=width,
        key=(bits[-1] >> np.uint64(32)).astype(np.uint32).view(np.int32),
        other_key=bits[-1].astype(np.uint32).view(np.int32),
    )
    return np.stack([row.astype(np.int64) for row in changes])


def _erased_sizes(
    uniform: npt.NDArray[np.float64], size: tuple[int, int], shares: tuple[float, float]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """(2, A, B) numbers in 0..1 -> heights and widths (A, B) in pixels, drawn as in timm."""
    smallest, largest = shares
    area = (smallest + uniform[0] * (largest - smallest)) * size[0] * size[1]
    aspect = np.exp((2 * uniform[1] - 1) * -math.log(ERASED_ASPECT))
    return np.rint(np.sqrt(area * aspect)), np.rint(np.sqrt(area / aspect))


def split_mix(seeds: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.uint64]:
    """(B,) seeds -> (count, B) random 64-bit numbers: SplitMix64 (Steele et al., 2014).

    A NumPy generator per image would take longer than the rest of the host's work for a batch.
    """
    steps = np.arange(1, count + 1, dtype=np.uint64)[:, None] * np.uint64(0x9E3779B97F4A7C15)
    x = seeds.astype(np.uint64) + steps
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


class BatchAugmentation:
    """Flips, pads, crops, normalizes and erases the images of a batch.

    Args:
        size: (height, width) in pixels.
        augmentation: flip, padding and erasing count; colours do not change.
        normalize: applied after the crop.
        device: of the images.
    """

    def __init__(
        self,
        size: tuple[int, int],
        augmentation: Augmentation,
        normalize: LevelNormalization,
        device: torch.device,
    ) -> None:
        self.size = size
        self.augmentation = augmentation
        self.normalize = normalize
        self._rows = torch.arange(size[0], device=device)
        self._columns = torch.arange(size[1], device=device)
        cells = torch.arange(3 * math.prod(size), dtype=torch.int32, device=device)
        self._cells = cells.view(3, *size)
        fill = augmentation.erased_fill
        self._fill = None if fill is None else torch.tensor(fill, device=device).view(3, 1, 1)

    def draw(self, seeds: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """(B,) seeds -> (9, B), the rows of `Changes`, on the host."""
        return draw_changes(seeds, self.size, self.augmentation)

    def __call__(self, images: Tensor, positions: Tensor, changes: Changes) -> Tensor:
        """Augment a batch.

        Args:
            images: (N, H, W, 3) uint8, all images.
            positions: (B,) the batch's images among them.
            changes: (B,) each, on the device.

        Returns:
            (B, 3, H, W) float.
        """
        batch = self.normalize(self._crop(images, positions, changes))
        return self._erase(batch, changes) if self.augmentation.erasing else batch

    def _crop(self, images: Tensor, positions: Tensor, changes: Changes) -> Tensor:
        """(B, H, W, 3) uint8: flipped, then cropped from the padded image; padding is black."""
        height, width = self.size
        rows = self._rows + (changes.top - self.augmentation.padding)[:, None]
        columns = self._columns + (changes.left - self.augmentation.padding)[:, None]
        inside = _within(rows, 0, height)[:, :, None] & _within(columns, 0, width)[:, None]
        columns = torch.where(changes.flip[:, None] == 1, width - 1 - columns, columns)
        rows, columns = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
        pixels = images[positions[:, None, None], rows[:, :, None], columns[:, None]]
        return pixels * inside[..., None]

    def _erase(self, batch: Tensor, changes: Changes) -> Tensor:
        """Fill every image's rectangle with its colour, or with N(0, 1) noise."""
        rows = _within(self._rows, *_span(changes.erased_top, changes.erased_height))
        columns = _within(self._columns, *_span(changes.erased_left, changes.erased_width))
        erased = rows[:, None, :, None] & columns[:, None, None, :]
        if self._fill is not None:
            return torch.where(erased, self._fill, batch)
        return torch.where(erased, noise(self._cells, changes.key, changes.other_key), batch)


def _span(start: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
    return start[:, None], (start + length)[:, None]


def _within(x: Tensor, start: Tensor | int, stop: Tensor | int) -> Tensor:
    return (x >= start) & (x < stop)


def noise(cells: Tensor, key: Tensor, other_key: Tensor) -> Tensor:
    """Standard normal numbers that depend on cell and keys only, not on the batch.

    Args:
        cells: (...) int32, cell numbers.
        key: (B,) in the range of int32.
        other_key: (B,) in the range of int32.

    Returns:
        (B, ...) float, from a 32-bit hash (Wellons' lowbias32; `other_key` enters halfway).
    """
    shape = (-1, *[1] * cells.dim())
    x = cells ^ key.to(torch.int32).view(shape)
    x = _mix(x, 16, 0x7FEB352D)
    x += other_key.to(torch.int32).view(shape)
    x = _mix(x, 15, 0x846CA68B - 2**32)
    x = _mix(x, 16, 1)
    # The upper 24 bits as an odd multiple of 2^-24 in (-1, 1), exact in float32.
    symmetric = (x >> 8).to(torch.float32).mul_(2.0**-23).add_(2.0**-24)
    return symmetric.erfinv_().mul_(math.sqrt(2))


def _mix(x: Tensor, shift: int, factor: int) -> Tensor:
    """One round of the hash, in place; the mask makes the shift logical."""
    x ^= (x >> shift) & (2 ** (32 - shift) - 1)
    return x.mul_(factor)


def normalize_fixed(levels: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """(B, H, W, 3) uint8 -> (B, 3, H, W), normalized by mean and deviation (3, 1, 1).

    Unlike `T.Normalize`, which reads the smallest deviation at every call, it needs no
    synchronization with the device.
    """
    return _channels_first(levels).div_(255).sub_(mean).div_(std)


def normalize_instances(levels: Tensor) -> Tensor:
    """(B, H, W, 3) uint8 -> (B, 3, H, W), every image as `transforms.normalize_instance` does.

    Sums are of integers and thus exact in any order, so an image is bit-identical in any batch.
    """
    count = levels.shape[1] * levels.shape[2]
    sums = levels.sum((1, 2), dtype=torch.int64)
    squares = levels.to(torch.int32).square_().sum((1, 2), dtype=torch.int64)
    mean = sums.to(torch.float32) / count
    variance = (count * squares - sums.square()).to(torch.float32) / (count * 255) ** 2
    scale = (variance + 1e-5).rsqrt_() / 255
    return _channels_first(levels).sub_(mean[:, :, None, None]).mul_(scale[:, :, None, None])


def _channels_first(levels: Tensor) -> Tensor:
    return levels.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)

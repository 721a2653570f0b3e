"""Augmentation and preprocessing of one image (CLIP-ReID, section 4.2)."""

from __future__ import annotations

from collections.abc import Sequence

from timm.data.random_erasing import RandomErasing
from torchvision import transforms as T
from torchvision.transforms import InterpolationMode


def train_transform(
    size: tuple[int, int],
    mean: Sequence[float],
    std: Sequence[float],
    *,
    flip_probability: float = 0.5,
    padding: int = 10,
    erasing_probability: float = 0.5,
) -> T.Compose:
    """PIL image -> (3, H, W) float: resize, flip, pad and crop, normalize, erase.

    Padding is black before normalization; an erased rectangle (2 to 33 % of the area) is filled
    with N(0, 1) noise after it.

    Args:
        size: (height, width) in pixels; bicubic, antialiased.
        mean: of R, G, B in 0..1.
        std: of R, G, B in 0..1.
        flip_probability: of a horizontal flip.
        padding: pixels on every side before the random crop back to `size`.
        erasing_probability: of random erasing (Zhong et al., 2020).
    """
    return T.Compose(
        [
            T.Resize(size, interpolation=InterpolationMode.BICUBIC),
            T.RandomHorizontalFlip(flip_probability),
            T.Pad(padding),
            T.RandomCrop(size),
            T.ToTensor(),
            T.Normalize(mean, std),
            RandomErasing(erasing_probability, mode="pixel", max_count=1, device="cpu"),
        ]
    )


def evaluation_transform(
    size: tuple[int, int], mean: Sequence[float], std: Sequence[float]
) -> T.Compose:
    """PIL image -> (3, H, W) float: bilinear, antialiased resize and normalization."""
    return T.Compose(
        [
            T.Resize(size, interpolation=InterpolationMode.BILINEAR),
            T.ToTensor(),
            T.Normalize(mean, std),
        ]
    )

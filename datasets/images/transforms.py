"""Preprocessing and augmentation of one image (CLIP-ReID, section 4.2; CLIP-DFGS's recipe)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from timm.data.random_erasing import RandomErasing
from torch import Tensor
from torchvision import transforms as T
from torchvision.transforms import InterpolationMode

Normalization = Callable[[Tensor], Tensor]
"""(3, H, W) in 0..1 -> (3, H, W) normalized: `T.Normalize` or `normalize_instance`."""


@dataclass(frozen=True, slots=True)
class Augmentation:
    """Random changes of a training image; the defaults are CLIP-ReID's.

    Attributes:
        flip: probability of a horizontal flip.
        padding: black pixels on every side before a random crop to the original size.
        erasing: probability of random erasing (Zhong et al., 2020).
        grayscale: probability of conversion to gray.
        jitter: probability of colour jitter.
        jitter_strength: for brightness, contrast, saturation and hue, as in
            `torchvision.transforms.ColorJitter`.
        augmix: probability of AugMix (Hendrycks et al., 2020), with torchvision's severity 3.
    """

    flip: float = 0.5
    padding: int = 10
    erasing: float = 0.5
    grayscale: float = 0.0
    jitter: float = 0.0
    jitter_strength: tuple[float, float, float, float] = (0.15, 0.1, 0.05, 0.05)
    augmix: float = 0.0


ERASED_AREA = (0.02, 1 / 3)  # smallest and largest erased share of the image
ERASED_ASPECT = 0.3  # smallest height / width of the erased rectangle; its inverse is the largest
TRAINING_INTERPOLATION = InterpolationMode.BICUBIC


def resize(size: tuple[int, int], interpolation: InterpolationMode) -> T.Resize:
    """PIL image -> PIL image of (height, width) pixels, antialiased and deterministic."""
    return T.Resize(size, interpolation=interpolation)


def train_transform(
    size: tuple[int, int], normalize: Normalization, augmentation: Augmentation
) -> T.Compose:
    """PIL image -> (3, H, W) float: a bicubic resize, then `augmenting_transform`."""
    changes = augmenting_transform(size, normalize, augmentation)
    return T.Compose([resize(size, TRAINING_INTERPOLATION), *changes.transforms])


def augmenting_transform(
    size: tuple[int, int], normalize: Normalization, augmentation: Augmentation
) -> T.Compose:
    """Resized PIL image -> (3, H, W) float: augment, normalize, erase.

    Padding is black before normalization; an erased rectangle (2 to 33 % of the area) is filled
    with N(0, 1) noise after it.

    Args:
        size: (height, width) of the image in pixels.
        normalize: of the tensor in 0..1.
        augmentation: the random changes.
    """
    steps = [
        T.RandomHorizontalFlip(augmentation.flip),
        T.Pad(augmentation.padding),
        T.RandomCrop(size),
        T.ToTensor(),
        normalize,
        RandomErasing(
            augmentation.erasing,
            min_area=ERASED_AREA[0],
            max_area=ERASED_AREA[1],
            min_aspect=ERASED_ASPECT,
            mode="pixel",
            max_count=1,
            device="cpu",
        ),
    ]
    colours = []
    if augmentation.jitter:
        jitter = T.ColorJitter(*augmentation.jitter_strength)
        colours.append(T.RandomApply([jitter], augmentation.jitter))
    if augmentation.augmix:
        colours.append(T.RandomApply([T.AugMix()], augmentation.augmix))
    steps[3:3] = colours
    if augmentation.grayscale:
        steps.insert(0, T.RandomGrayscale(augmentation.grayscale))
    return T.Compose(steps)


def evaluation_transform(
    size: tuple[int, int],
    normalize: Normalization,
    interpolation: InterpolationMode = InterpolationMode.BILINEAR,
) -> T.Compose:
    """PIL image -> (3, H, W) float: antialiased resize and normalization."""
    return T.Compose([resize(size, interpolation), *plain_transform(normalize).transforms])


def plain_transform(normalize: Normalization) -> T.Compose:
    """Resized PIL image -> (3, H, W) float: normalization only."""
    return T.Compose([T.ToTensor(), normalize])


def normalize_instance(image: Tensor) -> Tensor:
    """Normalize every channel of a (3, H, W) image to mean 0 and standard deviation 1.

    Instance normalization, which CLIP-DFGS uses instead of a fixed mean and deviation. The
    deviation is the biased one; 1e-5 under the root keeps an image of one colour finite.
    """
    centered = image - image.mean((1, 2), keepdim=True)
    return centered * (centered.square().mean((1, 2), keepdim=True) + 1e-5).rsqrt()

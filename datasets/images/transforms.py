"""Preprocessing and augmentation of one image (CLIP-ReID, section 4.2; CLIP-DFGS's recipe)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from timm.data.random_erasing import RandomErasing
from torch import Tensor
from torchvision import transforms as T
from torchvision.transforms import InterpolationMode

from datasets.images.augmix import AugMix

Normalization = Callable[[Tensor], Tensor]
"""(3, H, W) in 0..1 -> (3, H, W) normalized: `T.Normalize` or `normalize_instance`."""


@dataclass(frozen=True, slots=True)
class Augmentation:
    """Random changes of a training image; the defaults are CLIP-ReID's.

    Attributes:
        flip: probability of a horizontal flip.
        padding: black pixels on every side before a random crop to the original size.
        erasing: probability of random erasing (Zhong et al., 2020).
        erased_area: smallest and largest erased share of the image.
        erased_fill: colour of the erased rectangle in the normalized image; None = N(0, 1) noise.
        grayscale: probability of conversion to gray.
        jitter: probability of colour jitter.
        jitter_strength: for brightness, contrast, saturation and hue, as in
            `torchvision.transforms.ColorJitter`.
        augmix: probability of AugMix (Hendrycks et al., 2020).
        augmix_severity: of its operations, 1 to 10.
        augmix_depth: operations in each of its three chains; 0 = one to three at random.
        augmix_alpha: of the Dirichlet and Beta distributions of its weights.
        augmix_colours: with brightness, contrast, saturation and sharpness besides the nine others.
    """

    flip: float = 0.5
    padding: int = 10
    erasing: float = 0.5
    erased_area: tuple[float, float] = (0.02, 1 / 3)
    erased_fill: tuple[float, float, float] | None = None
    grayscale: float = 0.0
    jitter: float = 0.0
    jitter_strength: tuple[float, float, float, float] = (0.15, 0.1, 0.05, 0.05)
    augmix: float = 0.0
    augmix_severity: int = 3
    augmix_depth: int = 0
    augmix_alpha: float = 1.0
    augmix_colours: bool = True


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

    Padding is black before normalization; a rectangle is erased after it.

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
        _erasing(augmentation),
    ]
    colours = []
    if augmentation.jitter:
        jitter = T.ColorJitter(*augmentation.jitter_strength)
        colours.append(T.RandomApply([jitter], augmentation.jitter))
    if augmentation.augmix:
        augmix = AugMix(
            augmentation.augmix_severity,
            augmentation.augmix_depth,
            augmentation.augmix_alpha,
            colours=augmentation.augmix_colours,
        )
        colours.append(T.RandomApply([augmix], augmentation.augmix))
    steps[3:3] = colours
    if augmentation.grayscale:
        steps.insert(0, T.RandomGrayscale(augmentation.grayscale))
    return T.Compose(steps)


def _erasing(augmentation: Augmentation) -> Callable[[Tensor], Tensor]:
    if augmentation.erased_fill is not None:
        return T.RandomErasing(
            augmentation.erasing,
            augmentation.erased_area,
            (ERASED_ASPECT, 1 / ERASED_ASPECT),
            augmentation.erased_fill,
        )
    return RandomErasing(
        augmentation.erasing,
        min_area=augmentation.erased_area[0],
        max_area=augmentation.erased_area[1],
        min_aspect=ERASED_ASPECT,
        mode="pixel",
        max_count=1,
        device="cpu",
    )


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


def reverse_channels(image: Tensor) -> Tensor:
    """(3, H, W) RGB to BGR."""
    return image.flip(0)

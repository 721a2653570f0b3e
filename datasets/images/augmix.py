"""AugMix (Hendrycks et al., ICLR 2020), with the operations of its published code."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

Operation = Callable[[Image.Image, float], Image.Image]
"""RGB image, level from 0 to 10 -> changed image."""

WIDTH = 3  # chains
_BILINEAR = Image.Resampling.BILINEAR


class AugMix:
    """Mixes an image with chains of random operations: `(1 - m) x + m sum_i w_i chain_i(x)`.

    `w` is drawn from a Dirichlet, `m` from a Beta distribution; every operation has a level between
    0.1 and the severity. Random numbers are Python's.

    Args:
        severity: largest level, 1 to 10.
        depth: operations in a chain; 0 = one to three at random.
        alpha: parameter of the Dirichlet and of the Beta distribution.
        colours: whether saturation, contrast, brightness and sharpness are among the operations.
    """

    def __init__(self, severity: int, depth: int, alpha: float, *, colours: bool) -> None:
        self.severity = severity
        self.depth = depth
        self.alpha = alpha
        self.operations = (*OPERATIONS, *COLOURS) if colours else OPERATIONS

    def __call__(self, image: Image.Image) -> Image.Image:
        parts = [random.gammavariate(self.alpha, 1) for _ in range(WIDTH)]
        share = random.betavariate(self.alpha, self.alpha)
        mixed = (1 - share) * np.asarray(image, np.float32)
        total = sum(parts) or 1.0  # all of them can underflow for a small alpha
        for part in parts:
            mixed += share * part / total * np.asarray(self._chain(image), np.float32)
        if not sum(parts):
            mixed += share * np.asarray(image, np.float32)
        return Image.fromarray(mixed.round().clip(0, 255).astype(np.uint8))

    def _chain(self, image: Image.Image) -> Image.Image:
        for _ in range(self.depth or random.randint(1, 3)):
            operation = random.choice(self.operations)
            image = operation(image, random.uniform(0.1, self.severity))
        return image


def _autocontrast(image: Image.Image, _: float) -> Image.Image:
    return ImageOps.autocontrast(image)


def _equalize(image: Image.Image, _: float) -> Image.Image:
    return ImageOps.equalize(image)


def _posterize(image: Image.Image, level: float) -> Image.Image:
    return ImageOps.posterize(image, max(4 - int(level * 4 / 10), 1))


def _solarize(image: Image.Image, level: float) -> Image.Image:
    return ImageOps.solarize(image, 256 - int(level * 256 / 10))


def _rotate(image: Image.Image, level: float) -> Image.Image:
    return image.rotate(_signed(int(level * 30 / 10)), _BILINEAR)


def _shear_x(image: Image.Image, level: float) -> Image.Image:
    return _affine(image, (1, _signed(level * 0.3 / 10), 0, 0, 1, 0))


def _shear_y(image: Image.Image, level: float) -> Image.Image:
    return _affine(image, (1, 0, 0, _signed(level * 0.3 / 10), 1, 0))


def _translate_x(image: Image.Image, level: float) -> Image.Image:
    return _affine(image, (1, 0, _signed(int(level * image.width / 3 / 10)), 0, 1, 0))


def _translate_y(image: Image.Image, level: float) -> Image.Image:
    return _affine(image, (1, 0, 0, 0, 1, _signed(int(level * image.height / 3 / 10))))


def _enhance(
    kind: Callable[[Image.Image], ImageEnhance._Enhance], image: Image.Image, level: float
) -> Image.Image:
    return kind(image).enhance(level * 1.8 / 10 + 0.1)


OPERATIONS: tuple[Operation, ...] = (
    *(_autocontrast, _equalize, _posterize, _rotate, _solarize),
    *(_shear_x, _shear_y, _translate_x, _translate_y),
)
COLOURS: tuple[Operation, ...] = (
    partial(_enhance, ImageEnhance.Color),  # spawned workers receive them pickled
    partial(_enhance, ImageEnhance.Contrast),
    partial(_enhance, ImageEnhance.Brightness),
    partial(_enhance, ImageEnhance.Sharpness),
)


def _affine(image: Image.Image, matrix: tuple[float, ...]) -> Image.Image:
    return image.transform(image.size, Image.Transform.AFFINE, matrix, _BILINEAR)


def _signed(amount: float) -> float:
    return amount if random.random() < 0.5 else -amount

"""Images given by a caller: paths, PIL images, arrays and tensors."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from datasets.images.decode import DECODING_ERRORS, BadImageError, read_image, to_rgb

GivenImage: TypeAlias = (
    str | os.PathLike[str] | bytes | io.BytesIO | Image.Image | np.ndarray | Tensor
)
"""A file, a file's content, or pixels: an array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) uint8,
or a tensor (1 | 3 | 4, H, W), uint8 or float in 0..1. A fourth channel is the opacity. Files and
PIL images are decoded by `to_rgb`, which also says how transparency and EXIF orientation count."""

CHANNEL_ORDERS = ("rgb", "bgr")
REMEDY = 'set INPUT.ON_BAD_IMAGE skip (in Python: stream with on_bad_image="skip")'
KINDS = "a path, a file's bytes, a PIL image, an array or a tensor"
ARRAYS = "an array must be uint8 of shape (H, W, 3), (H, W, 4), (H, W, 1) or (H, W)"
TENSORS = "a tensor must be uint8, or float in 0..1, of shape (3, H, W), (4, H, W) or (1, H, W)"


@dataclass(frozen=True, slots=True)
class GivenImages:
    """Given images by position, as RGB; an `ImageSource`.

    Attributes:
        images: of any kind.
        channels: channel order of arrays and tensors, "rgb" or "bgr" (OpenCV's).
        first: position of the first image, for errors.
    """

    images: Sequence[GivenImage]
    channels: str = "rgb"
    first: int = 0

    def check(self) -> None:
        """Raise a ValueError that names the first image of an unknown kind, type or shape."""
        for position, image in enumerate(self.images):
            problem = _find_problem(image)
            if problem:
                raise ValueError(f"images[{self.first + position}]: {problem}")

    def name(self, position: int) -> str:
        """The file, or the position in the list."""
        image = self.images[position]
        if isinstance(image, str | os.PathLike):
            return os.fspath(image)
        return f"images[{self.first + position}]"

    def __call__(self, position: int) -> Image.Image:
        """The image as RGB; raises BadImageError if its file is broken."""
        image = self.images[position]
        if isinstance(image, str | os.PathLike):
            return read_image(os.fspath(image), remedy=REMEDY)
        if isinstance(image, bytes | io.BytesIO):
            content = image if isinstance(image, bytes) else image.getvalue()
            return read_image(io.BytesIO(content), self.name(position), remedy=REMEDY)
        if not isinstance(image, Image.Image):
            return _to_image(_to_array(image), self.channels)
        try:
            return to_rgb(image)
        except DECODING_ERRORS as error:  # opening it did not decode it
            raise BadImageError(f"cannot decode {self.name(position)} ({error})") from error


def _find_problem(image: GivenImage) -> str:
    """Why an image cannot be used; empty if it can. Files are not opened."""
    if isinstance(image, str | os.PathLike | bytes | io.BytesIO):
        return ""
    if isinstance(image, Image.Image):
        return "" if all(image.size) else f"a PIL image of {image.width} x {image.height} pixels"
    if isinstance(image, Tensor):
        if image.layout != torch.strided or image.is_meta:
            return f"a tensor of layout {image.layout} on {image.device}; {TENSORS}"
        fits = image.ndim == 3 and image.shape[0] in (1, 3, 4) and image.numel() > 0
        fits &= image.dtype == torch.uint8 or image.is_floating_point()
        if not fits:
            return f"{image.dtype} {tuple(image.shape)}; {TENSORS}"
        low, high = (float(x) for x in torch.aminmax(image))
        if image.is_floating_point() and not (low >= 0 and high <= 1):  # NaN fails both
            return f"values from {low:.4g} to {high:.4g}; {TENSORS}"
        return ""
    if not isinstance(image, np.ndarray):
        return f"expected {KINDS}, got {type(image).__name__}"
    fits = image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (1, 3, 4))
    if not fits or not image.size or image.dtype != np.uint8:
        return f"{image.dtype} {image.shape}; {ARRAYS}"
    return ""


def _to_array(image: np.ndarray | Tensor) -> np.ndarray:
    """(H, W) or (H, W, channels) uint8; floats are rounded to the nearest of 256 levels."""
    if isinstance(image, np.ndarray):
        return image
    if image.is_floating_point():
        image = (image.float() * 255).round().to(torch.uint8)
    return image.detach().permute(1, 2, 0).cpu().numpy()


def _to_image(pixels: np.ndarray, channels: str) -> Image.Image:
    if pixels.ndim == 2 or pixels.shape[2] == 1:
        gray = pixels.reshape(pixels.shape[:2])
        return Image.fromarray(np.ascontiguousarray(gray)).convert("RGB")
    mode, order = ("RGB", channels.upper())
    if pixels.shape[2] == 4:
        mode, order = (f"{mode}A", f"{order}A")
    pixels = np.ascontiguousarray(pixels)
    size = (pixels.shape[1], pixels.shape[0])
    image = Image.frombytes(mode, size, pixels, "raw", order)  # fast for BGR too
    return image if mode == "RGB" else to_rgb(image)

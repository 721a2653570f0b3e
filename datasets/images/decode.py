"""Image files of any mode, decoded as RGB."""

from __future__ import annotations

from typing import BinaryIO

import numpy as np
from PIL import Image

DECODING_ERRORS = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


class BadImageError(RuntimeError):
    """A file that cannot be decoded as an image."""

    def __init__(self, message: str) -> None:
        # A worker process wraps the message in its traceback, which ends with the message itself.
        super().__init__(message.rpartition(f"{type(self).__name__}: ")[2].rstrip())


def read_image(
    file: str | BinaryIO, name: str | None = None, remedy: str = "set INPUT.ON_BAD_IMAGE skip"
) -> Image.Image:
    """Decode a file as RGB.

    Args:
        file: its path, or an open one.
        name: of an open one, for the error.
        remedy: how to skip such files, for the error.

    Raises:
        BadImageError: names the file and the remedy.
    """
    try:
        with Image.open(file) as image:
            return to_rgb(image)
    except DECODING_ERRORS as error:
        raise BadImageError(
            f"cannot decode the image {name or file} ({error}); replace or remove it, or {remedy} "
            "to leave such files out"
        ) from error


def to_rgb(image: Image.Image) -> Image.Image:
    """An image of any mode as RGB; raises one of DECODING_ERRORS if its file is broken."""
    deep = image.mode == "I" and np.asarray(image).max() > 255
    if deep or image.mode.startswith("I;16"):  # 16-bit gray; convert() alone would clip it to white
        return image.point(lambda value: value / 256).convert("L").convert("RGB")
    return image.convert("RGB")

"""Images of any kind, decoded as RGB: every image is read through this module."""

from __future__ import annotations

import errno
import io
import stat
import struct
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import ExifTags, Image

from config.text import printable
from datasets.readers.image_files import image_formats
from datasets.readers.tar_files import read_member

# What Pillow's many readers raise on damaged files; MemoryError is not of the file.
DECODING_ERRORS = (
    *(OSError, EOFError, SyntaxError, ValueError, RuntimeError, LookupError, TypeError),
    *(AttributeError, ArithmeticError, struct.error, zlib.error, Image.DecompressionBombError),
    AssertionError,  # of a file that was closed before it was decoded
)

# Too many open files, no memory, a network that lost the file: no reason to leave an image out.
_NOT_OF_THE_FILE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.ESTALE)

WHITE_IS_ZERO = 0
"""TIFF's photometric interpretation of an image whose level 0 is white."""

BACKGROUND = (255, 255, 255)
"""RGB, 0..255: what transparent images are laid on."""

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> what makes the image upright; 1 is upright."""


class BadImageError(RuntimeError):
    """A file that cannot be decoded as an image."""

    def __init__(self, message: str) -> None:
        # A worker process wraps the message in its traceback, which ends with the message itself.
        super().__init__(message.rpartition(f"{type(self).__name__}: ")[2].rstrip())


def read_image(
    file: str | BinaryIO, name: str | None = None, remedy: str = "set INPUT.ON_BAD_IMAGE skip"
) -> Image.Image:
    """Decode a file as RGB; see `to_rgb`. Of several frames, the first is taken.

    Args:
        file: its path, which may lead into a tar file, or an open one.
        name: of an open one, for the error.
        remedy: how to skip such files, for the error.

    Raises:
        BadImageError: names the file and the remedy.
        OSError: the system is short of something.
    """
    try:
        content = _open_member(file) if isinstance(file, str) else file
        if isinstance(content, str) and not stat.S_ISREG(Path(content).stat().st_mode):
            raise OSError("not a regular file")  # reading a pipe would wait for ever
        with Image.open(content, formats=image_formats()) as image:
            return to_rgb(image)
    except DECODING_ERRORS as error:
        if isinstance(error, OSError) and error.errno in _NOT_OF_THE_FILE:
            raise
        raise BadImageError(
            f"cannot decode the image {printable(name or str(file))} ({printable(str(error))}); "
            f"replace or remove it, or {remedy} to leave such files out"
        ) from error


def _open_member(path: str) -> str | BinaryIO:
    """The content of a member of a tar file; any other path as it is."""
    content = read_member(path)
    return path if content is None else io.BytesIO(content)


def to_rgb(image: Image.Image) -> Image.Image:
    """An image of any mode as RGB, as viewers show it.

    Its EXIF orientation is applied, transparent parts are laid on BACKGROUND, and gray levels of
    more than 8 bits are scaled by the range of their type: 16 bits by 256, also where a camera
    fills only 12 of them; the 9 to 15 bits of a TIFF by its own range; floats from 0..1. 32-bit
    integers are 8-bit levels if none is above 255 and their file format is not of 16 bits, else
    16-bit levels. Colour profiles are not applied.

    Raises:
        ValueError: levels outside these ranges.
        Exception: one of DECODING_ERRORS; the file is broken.
    """
    tiles = getattr(image, "tile", None)
    packed = str(tiles[0].args) if tiles else ""  # as in the file, e.g. L;4
    image.load()  # Pillow turns a TIFF here, and removes its tag
    turn = _find_turn(image)
    if image.mode == "RGBA" and not _has_opacity(image):
        image = image.convert("RGB")
    elif image.mode[0] in "IF":
        image = _to_eight_bits(image)
    elif "transparency" in image.info and ";" in packed:
        image = _scale_key(image, packed)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        ground = Image.new("RGBA", image.size, BACKGROUND)
        image = Image.alpha_composite(ground, image)
    rgb = image.convert("RGB")
    return rgb if turn is None else rgb.transpose(turn)


def _has_opacity(image: Image.Image) -> bool:
    """Whether the fourth channel is meant: in TIFF if declared, in TGA if any of it is set."""
    if image.format == "TIFF":
        return ExifTags.Base.ExtraSamples in getattr(image, "tag_v2", {ExifTags.Base.ExtraSamples})
    return image.format != "TGA" or image.getchannel("A").getextrema() != (0, 0)


def _scale_key(image: Image.Image, packed: str) -> Image.Image:
    """The image with its transparent colour in the 8 bits that its pixels were scaled to."""
    key, depth = image.info["transparency"], packed.partition(";")[2]
    if image.mode == "RGB" and depth.startswith("16") and isinstance(key, tuple):
        scaled: Any = tuple(level >> 8 for level in key)
    elif image.mode == "L" and depth in ("2", "4") and isinstance(key, int):
        scaled = key * 255 // (2 ** int(depth) - 1)
    else:
        return image
    copy = image.copy()
    copy.info["transparency"] = scaled
    return copy


def _find_turn(image: Image.Image) -> Image.Transpose | None:
    """What makes a loaded image upright; None if it is, or if its EXIF data are broken."""
    try:
        return _UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except DECODING_ERRORS:
        return None


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """Gray levels of modes I;16, I and F as L, or as LA if one of them is transparent."""
    levels = np.asarray(image)
    tags = getattr(image, "tag_v2", {})
    bits = tags.get(ExifTags.Base.BitsPerSample, (0,))[0]
    if image.mode != "F" and tags.get(ExifTags.Base.PhotometricInterpretation) == WHITE_IS_ZERO:
        levels = 2**bits - 1 - levels.astype(np.int64)
    if image.mode == "F":
        low, high = float(levels.min()), float(levels.max())
        if not (low >= 0 and high <= 1):  # NaN fails both
            raise ValueError(
                f"32-bit floats from {low:.4g} to {high:.4g}; expected 0..1, or save it with 8 or "
                "16 bits"
            )
        eight = (levels * 255).round()
    else:
        low, high = int(levels.min()), int(levels.max())
        if low < 0 or high > 0xFFFF:
            raise ValueError(
                f"32-bit integers from {low} to {high}; expected 0..65535, or save it with 8 or "
                "16 bits"
            )
        deep = image.mode != "I" or high > 0xFF or image.format in ("PNG", "PPM") or bits == 16
        eight = levels >> (bits - 8 if 8 < bits < 16 else 8) if deep else levels
    gray = Image.fromarray(eight.astype(np.uint8))
    key = image.info.get("transparency")
    if isinstance(key, int):
        gray.putalpha(Image.fromarray((levels != key).astype(np.uint8) * 255))
    return gray

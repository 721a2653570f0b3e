"""Attention maps laid over the images they belong to."""

from __future__ import annotations

import numpy as np
from matplotlib import colormaps
from PIL import Image, ImageDraw
from torch import Tensor

from processor.pictures.sheet import MARGIN
from processor.pictures.style import INK
from processor.pictures.text import load_font

COLOURS = "YlOrRd"  # gets darker with the value, so that its order shows without colour vision
OPACITY = 0.8  # of the colour of the largest value; that of the least value is clear
LIGHTER = 0.3  # share of white in the gray image below
LEAST_HEIGHT = 384  # pixels of an overlay; smaller images are enlarged
SCALE_LENGTH, SCALE_HEIGHT, TEXT_SIZE = 220, 14, 14  # pixels


def overlay(image: Image.Image, attention: Tensor) -> Image.Image:
    """The image in light gray under the colours of its map, from the least value to the largest.

    Args:
        image: of any size; the map covers all of it.
        attention: (rows, columns); stretched bilinearly.
    """
    if image.height < LEAST_HEIGHT:
        width = max(1, round(image.width * LEAST_HEIGHT / image.height))
        image = image.resize((width, LEAST_HEIGHT), Image.Resampling.LANCZOS)
    values = attention.float().cpu().numpy()
    spread = values.max() - values.min()
    values = (values - values.min()) / spread if spread > 0 else np.zeros_like(values)
    stretched = Image.fromarray(values).resize(image.size, Image.Resampling.BILINEAR)
    return _colour(image.convert("L"), np.asarray(stretched))


def add_scale(sheet: Image.Image) -> Image.Image:
    """The sheet with a line below it that explains the colours."""
    ramp = np.tile(np.linspace(0, 1, SCALE_LENGTH), (SCALE_HEIGHT, 1))
    bar = _colour(Image.new("L", (SCALE_LENGTH, SCALE_HEIGHT), 128), ramp)
    font = load_font(TEXT_SIZE)
    least, most = "least", "most; each image has its own scale"
    before, after = (round(font.getlength(text)) + MARGIN // 2 for text in (least, most))
    width = max(sheet.width, 2 * MARGIN + before + SCALE_LENGTH + after)
    extended = Image.new("RGB", (width, sheet.height + SCALE_HEIGHT + MARGIN), "white")
    extended.paste(sheet)
    left, middle = MARGIN + before, sheet.height + SCALE_HEIGHT // 2
    extended.paste(bar, (left, sheet.height))
    pen = ImageDraw.Draw(extended)
    pen.text((MARGIN, middle), least, font=font, fill=INK, anchor="lm")
    end = left + SCALE_LENGTH + MARGIN // 2
    pen.text((end, middle), most, font=font, fill=INK, anchor="lm")
    return extended


def _colour(gray: Image.Image, values: np.ndarray) -> Image.Image:
    """A gray image, lightened, below the colours of values (H, W) in 0..1."""
    light = (1 - LIGHTER) * np.asarray(gray, dtype=np.float32) + LIGHTER * 255
    colours = 255 * colormaps[COLOURS](values)[..., :3]
    opacity = OPACITY * values[..., None]
    mixed = (1 - opacity) * light[..., None] + opacity * colours
    return Image.fromarray(mixed.round().astype(np.uint8))

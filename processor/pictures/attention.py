"""Maps of attention laid over the pictures they are of."""

from __future__ import annotations

import numpy as np
from matplotlib import colormaps
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from processor.pictures.style import INK

COLOURS = "inferno"  # perceptually uniform, and ordered by lightness without colour vision
OPACITY = 0.6  # of the colours over the gray picture
SCALE_LENGTH, SCALE_HEIGHT, MARGIN, TEXT_SIZE = 220, 14, 16, 14  # pixels


def overlay(picture: Image.Image, attention: Tensor) -> Image.Image:
    """A picture in gray under the colours of its map, from the map's least to its largest value.

    Args:
        picture: of any size, the whole of which the map covers.
        attention: (rows, columns); stretched bilinearly.
    """
    values = attention.float().cpu().numpy()
    spread = values.max() - values.min()
    values = (values - values.min()) / spread if spread > 0 else np.zeros_like(values)
    stretched = Image.fromarray(values).resize(picture.size, Image.Resampling.BILINEAR)
    gray = picture.convert("L").convert("RGB")
    return Image.blend(gray, _to_colours(np.asarray(stretched)), OPACITY)


def add_scale(sheet: Image.Image) -> Image.Image:
    """The sheet with a line below it that says what the colours mean."""
    gray = Image.new("RGB", (SCALE_LENGTH, SCALE_HEIGHT), "gray")
    ramp = np.tile(np.linspace(0, 1, SCALE_LENGTH), (SCALE_HEIGHT, 1))
    bar = Image.blend(gray, _to_colours(ramp), OPACITY)
    font = ImageFont.load_default(TEXT_SIZE)
    least, most = "least", "most, each picture by itself"
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


def _to_colours(values: np.ndarray) -> Image.Image:
    """(H, W) in 0..1 -> picture."""
    return Image.fromarray(colormaps[COLOURS](values, bytes=True)[..., :3])

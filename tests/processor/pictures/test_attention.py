"""Maps over pictures: where the colours lie and what they mean."""

import numpy as np
import torch
from matplotlib import colormaps
from PIL import Image

from processor.pictures.attention import COLOURS, OPACITY, add_scale, overlay

GRAY = 100


def picture(width, height):
    return Image.new("RGB", (width, height), (GRAY, GRAY, GRAY))


def blended(value):
    colour = 255 * np.array(colormaps[COLOURS](value)[:3])
    return (1 - OPACITY) * GRAY + OPACITY * colour


def test_colours_run_from_the_least_to_the_largest_value():
    attention = torch.tensor([[2.0, 2.0, 2.0], [2.0, 2.0, 4.0]])
    pixels = np.asarray(overlay(picture(90, 60), attention))
    assert pixels.shape == (60, 90, 3)
    assert np.abs(pixels[2, 2] - blended(0.0)).max() < 3
    assert np.abs(pixels[-2, -2] - blended(1.0)).max() < 3
    assert pixels.sum(2).argmax() // 90 > 30  # the brightest pixel is in the lower half


def test_rows_of_the_map_are_rows_of_the_picture():
    attention = torch.zeros(8, 2)
    attention[6, 0] = 1.0
    bright = np.asarray(overlay(picture(40, 160), attention)).sum(2)
    row, column = np.unravel_index(bright.argmax(), bright.shape)
    assert 120 <= row < 140
    assert column < 20


def test_flat_map_has_one_colour():
    pixels = np.asarray(overlay(picture(10, 20), torch.full((4, 2), 0.3)))
    assert (pixels == pixels[0, 0]).all()


def test_scale_is_added_below():
    sheet = picture(700, 50)
    extended = add_scale(sheet)
    assert extended.width == 700
    assert extended.height > 50
    assert np.array_equal(np.asarray(extended)[:50], np.asarray(sheet))
    assert add_scale(picture(20, 50)).width > 220  # a narrow sheet has room for it

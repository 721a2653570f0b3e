"""Maps over images: positions and meaning of the colours."""

import numpy as np
import torch
from matplotlib import colormaps
from PIL import Image

from processor.pictures.attention import (
    COLOURS,
    LEAST_HEIGHT,
    LIGHTER,
    OPACITY,
    add_scale,
    overlay,
)

GRAY = 100


def image(width, height):
    return Image.new("RGB", (width, height), (GRAY, GRAY, GRAY))


def blended(value):
    """The image's gray, lightened, below the colour of a value, which covers more if larger."""
    light = (1 - LIGHTER) * GRAY + LIGHTER * 255
    colour = 255 * np.array(colormaps[COLOURS](value)[:3])
    return (1 - OPACITY * value) * light + OPACITY * value * colour


def test_colours_run_from_the_least_to_the_largest_value():
    attention = torch.tensor([[2.0, 2.0, 2.0], [2.0, 2.0, 4.0]])
    pixels = np.asarray(overlay(image(600, 400), attention)).astype(int)
    assert pixels.shape == (400, 600, 3)
    assert np.abs(pixels[2, 2] - blended(0.0)).max() < 3
    assert np.abs(pixels[-2, -2] - blended(1.0)).max() < 3
    redness = pixels[..., 0] - pixels[..., 2]
    assert redness.argmax() // 600 > 200  # the reddest pixel is in the lower half


def test_least_value_leaves_the_image_visible_and_lighter():
    assert blended(0.0).tolist() == [(1 - LIGHTER) * GRAY + LIGHTER * 255] * 3
    assert (blended(0.0) > GRAY).all()


def test_rows_of_the_map_are_rows_of_the_image():
    attention = torch.zeros(8, 2)
    attention[6, 0] = 1.0
    pixels = np.asarray(overlay(image(100, 400), attention)).astype(int)
    redness = pixels[..., 0] - pixels[..., 2]
    row, column = np.unravel_index(redness.argmax(), redness.shape)
    assert 300 <= row < 350
    assert column < 50


def test_small_images_are_enlarged_and_large_ones_kept():
    flat = torch.ones(4, 2)
    assert overlay(image(64, 128), flat).size == (LEAST_HEIGHT // 2, LEAST_HEIGHT)
    assert overlay(image(500, 900), flat).size == (500, 900)


def test_flat_map_has_one_colour():
    pixels = np.asarray(overlay(image(10, 20), torch.full((4, 2), 0.3)))
    assert (pixels == pixels[0, 0]).all()


def test_scale_is_added_below():
    sheet = image(700, 50)
    extended = add_scale(sheet)
    assert extended.width == 700
    assert extended.height > 50
    assert np.array_equal(np.asarray(extended)[:50], np.asarray(sheet))
    assert add_scale(image(20, 50)).width > 220  # a narrow sheet has room for it

"""AugMix: the mixture by hand, its operations, its strength on photographs."""

import io
import random

import numpy as np
import pytest
import skimage.data
import torch
from PIL import Image, ImageEnhance, ImageOps
from torchvision import transforms

from datasets.images import augmix
from datasets.images.augmix import COLOURS, OPERATIONS, AugMix


@pytest.fixture
def photographs(golden):
    arrays = golden("transforms")
    names = [name for name in arrays if name.endswith("/jpeg_bytes")]
    images = [Image.open(io.BytesIO(arrays[name].tobytes())).convert("RGB") for name in names]
    return [image.resize((128, 256), Image.Resampling.BICUBIC) for image in images]


def change(mix, images, repeats=60):
    """Mean change of a gray level."""
    random.seed(0)
    found = []
    for image in images:
        before = np.asarray(image, float)
        found += [np.abs(np.asarray(mix(image)) - before).mean() for _ in range(repeats)]
    return np.mean(found)


def test_mixture_is_the_weighted_sum(photographs, monkeypatch):
    image = photographs[0]
    numbers = iter([1.0, 2.0, 1.0])
    monkeypatch.setattr(augmix.random, "gammavariate", lambda alpha, _: alpha * next(numbers))
    monkeypatch.setattr(augmix.random, "betavariate", lambda *_: 0.6)
    monkeypatch.setattr(augmix.random, "choice", lambda operations: operations[1])  # equalize
    mix = AugMix(1, 1, 0.1, colours=False)
    expected = 0.4 * np.asarray(image, float) + 0.6 * np.asarray(ImageOps.equalize(image), float)
    assert np.abs(np.asarray(mix(image)) - expected).max() <= 0.51


def test_operations_change_with_the_level(photographs):
    image = photographs[1]
    random.seed(0)
    assert (len(OPERATIONS), len(COLOURS)) == (9, 4)
    for operation in (*OPERATIONS[2:], *COLOURS):  # the first two have no level
        weak, strong = (
            np.abs(np.asarray(operation(image, level), float) - np.asarray(image)).mean()
            for level in (5 if operation in COLOURS else 0.4, 10)
        )
        assert strong > weak, operation


def test_depth_is_the_number_of_operations(photographs, monkeypatch):
    done = []
    monkeypatch.setattr(
        augmix.random, "choice", lambda _: lambda image, level: done.append(level) or image
    )
    AugMix(2, 4, 1.0, colours=True)(photographs[0])
    assert len(done) == 3 * 4
    assert all(0.1 <= level <= 2 for level in done)
    lengths = set()
    for _ in range(40):
        done.clear()
        AugMix(2, 0, 1.0, colours=True)(photographs[0])
        lengths.add(len(done))
    assert lengths <= set(range(3, 10))
    assert len(lengths) > 3


AFFINE = {  # operation number -> matrix at level 5, positive, of an image 128 wide and 256 high
    5: (1, 0.15, 0, 0, 1, 0),
    6: (1, 0, 0, 0.15, 1, 0),
    7: (1, 0, 21, 0, 1, 0),
    8: (1, 0, 0, 0, 1, 42),
}


@pytest.mark.parametrize("sign", [1, -1])
def test_geometric_operations_by_hand(photographs, monkeypatch, sign):
    image = photographs[2]
    monkeypatch.setattr(augmix.random, "random", lambda: 0.2 if sign > 0 else 0.8)
    bilinear = Image.Resampling.BILINEAR
    assert OPERATIONS[3](image, 5) == image.rotate(15 * sign, bilinear)
    for number, (a, b, c, d, e, f) in AFFINE.items():
        matrix = (a, b * sign, c * sign, d * sign, e, f * sign)
        expected = image.transform(image.size, Image.Transform.AFFINE, matrix, bilinear)
        assert OPERATIONS[number](image, 5) == expected, number


def test_tone_operations_by_hand(photographs):
    image = photographs[2]
    levels = np.asarray(image)
    assert OPERATIONS[0](image, 1) == ImageOps.autocontrast(image)
    assert OPERATIONS[1](image, 1) == ImageOps.equalize(image)
    assert np.array_equal(OPERATIONS[2](image, 5), levels & 0b11000000)  # 4 - 2 bits stay
    assert np.array_equal(OPERATIONS[4](image, 5), np.where(levels < 128, levels, 255 - levels))
    kinds = ("Color", "Contrast", "Brightness", "Sharpness")
    for operation, kind in zip(COLOURS, kinds, strict=True):
        assert operation(image, 10) == getattr(ImageEnhance, kind)(image).enhance(1.9)


def test_weights_and_levels_are_drawn_from_their_distributions(monkeypatch):
    """Dirichlet and Beta of 0.1, levels uniform from 0.1 to the severity."""
    levels = []
    monkeypatch.setattr(
        augmix.random,
        "choice",
        lambda _: (
            lambda image, level: levels.append(level) or Image.new("RGB", image.size, "white")
        ),
    )
    random.seed(1)
    black = Image.new("RGB", (2, 2))
    mixed = [np.asarray(AugMix(4, 1, 0.1, colours=False)(black)).mean() / 255 for _ in range(3000)]
    assert np.mean(mixed) == pytest.approx(0.5, abs=0.03)
    assert np.var(mixed) == pytest.approx(0.25 / 1.2, abs=0.01)  # of Beta(0.1, 0.1)
    assert np.mean(levels) == pytest.approx(2.05, abs=0.05)
    assert 0.1 <= min(levels) < 0.11
    assert 3.99 < max(levels) <= 4

    shades = iter([])  # the chains alone: one is white, two are black
    monkeypatch.setattr(augmix.random, "betavariate", lambda *_: 1.0)
    monkeypatch.setattr(
        augmix.random,
        "choice",
        lambda _: lambda image, _level: Image.new("RGB", image.size, next(shades)),
    )
    first = []
    for _ in range(3000):
        shades = iter(["white", "black", "black"])
        first.append(np.asarray(AugMix(4, 1, 0.1, colours=False)(black)).mean() / 255)
    assert np.mean(first) == pytest.approx(1 / 3, abs=0.03)
    assert np.var(first) == pytest.approx(2 / 9 / 1.3, abs=0.01)  # of Dirichlet(0.1, 0.1, 0.1)


def test_released_setting_changes_photographs_by_two_thirds_of_torchvisions():
    """7.4 and 11.1 gray levels on other photographs, CLIP-DFGS's release and torchvision."""
    names = ("astronaut", "coffee", "chelsea", "rocket")
    images = [Image.fromarray(getattr(skimage.data, name)()).resize((224, 224)) for name in names]
    torch.manual_seed(0)
    released = change(AugMix(1, 1, 0.1, colours=False), images)
    usual = change(transforms.AugMix(), images)
    assert released / usual == pytest.approx(7.4 / 11.1, abs=0.05)


def test_alpha_so_small_that_all_weights_underflow_changes_nothing(photographs, monkeypatch):
    monkeypatch.setattr(augmix.random, "gammavariate", lambda *_: 0.0)
    mixed = AugMix(1, 1, 0.001, colours=False)(photographs[0])
    assert np.array_equal(np.asarray(mixed), np.asarray(photographs[0]))

"""AugMix: the mixture by hand, its operations, its strength on photographs."""

import io
import random

import numpy as np
import pytest
from PIL import Image, ImageOps

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


def test_released_setting_changes_photographs_less_than_the_usual_one(photographs):
    """The released program by two thirds, on other photographs."""
    released = change(AugMix(1, 1, 0.1, colours=False), photographs)
    usual = change(AugMix(3, 0, 1.0, colours=True), photographs)
    assert 3 < released < 9
    assert released < 0.75 * usual


def test_alpha_so_small_that_all_weights_underflow_changes_nothing(photographs, monkeypatch):
    monkeypatch.setattr(augmix.random, "gammavariate", lambda *_: 0.0)
    mixed = AugMix(1, 1, 0.001, colours=False)(photographs[0])
    assert np.array_equal(np.asarray(mixed), np.asarray(photographs[0]))

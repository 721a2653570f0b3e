"""From INPUT to transforms of images, with and without augmentation."""

import random

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data.random_erasing import RandomErasing
from torchvision import transforms as T
from torchvision.transforms import InterpolationMode

from datasets.images.augmix import AugMix
from datasets.images.build import (
    build_evaluation_transform,
    build_level_normalization,
    build_level_transform,
)
from datasets.images.device_augmentation import Changes
from datasets.images.transforms import Augmentation

MEAN, STD = [0.4, 0.3, 0.2], [0.5, 0.6, 0.7]
INPUT = {
    "INPUT.SIZE_TRAIN": [48, 40],
    "INPUT.SIZE_TEST": [48, 40],
    "INPUT.PIXEL_MEAN": MEAN,
    "INPUT.PIXEL_STD": STD,
}
OFF = {"INPUT.PROB": 0, "INPUT.PADDING": 0, "INPUT.RE_PROB": 0}
FIXED = T.Normalize(MEAN, STD)
BICUBIC = T.Resize((48, 40), interpolation=InterpolationMode.BICUBIC)


def instance(image):
    """Mean 0 and deviation 1 in every channel."""
    variance, mean = torch.var_mean(image, (1, 2), correction=0, keepdim=True)
    return (image - mean) / (variance + 1e-5).sqrt()


@pytest.fixture
def picture(folder):
    """An image that has been decoded."""
    with Image.open(folder / "5.png") as file:
        return file.convert("RGB")


def seeded(transform, image, seed):
    random.seed(seed)
    torch.manual_seed(seed)
    return transform(image)


def assert_same_images(found, expected, image, times=24):
    """Check that both make the same random changes for every seed; returns the images."""
    outputs = [seeded(found, image, seed) for seed in range(times)]
    for seed, output in enumerate(outputs):
        torch.testing.assert_close(output, seeded(expected, image, seed), atol=1e-5, rtol=0)
    return outputs


def pipeline(
    *,
    gray=0.0,
    flip=0.0,
    padding=0,
    jitter=0.0,
    strength=(),
    mix=0.0,
    mixing=(3, 0, 1.0, True),
    erase=0.0,
    area=(0.02, 1 / 3),
    fill=None,
):
    """CLIP-DFGS's augmentation, written out."""
    steps = [BICUBIC]
    if gray:
        steps.append(T.RandomGrayscale(gray))
    steps += [T.RandomHorizontalFlip(flip), T.Pad(padding), T.RandomCrop((48, 40))]
    if jitter:
        steps.append(T.RandomApply([T.ColorJitter(*strength)], jitter))
    if mix:
        steps.append(T.RandomApply([AugMix(*mixing[:3], colours=mixing[3])], mix))
    if fill is None:
        erasing = RandomErasing(
            erase, min_area=area[0], max_area=area[1], min_aspect=0.3, mode="pixel", device="cpu"
        )
    else:
        erasing = T.RandomErasing(erase, area, (0.3, 1 / 0.3), fill)
    return T.Compose([*steps, T.ToTensor(), FIXED, erasing])


@pytest.mark.parametrize(
    ("options", "changes"),
    [
        ({}, {}),
        ({"INPUT.PROB": 0.3}, {"flip": 0.3}),
        ({"INPUT.PADDING": 6}, {"padding": 6}),
        ({"INPUT.RE_PROB": 0.7}, {"erase": 0.7}),
        ({"INPUT.GRAYSCALE_PROB": 0.4}, {"gray": 0.4}),
        ({"INPUT.JITTER_PROB": 0.6}, {"jitter": 0.6, "strength": (0.15, 0.1, 0.05, 0.05)}),
        (
            {"INPUT.JITTER_PROB": 0.6, "INPUT.JITTER": [0.5, 0.4, 0.3, 0.2]},
            {"jitter": 0.6, "strength": (0.5, 0.4, 0.3, 0.2)},
        ),
        ({"INPUT.AUGMIX_PROB": 0.6}, {"mix": 0.6}),
        (
            {"INPUT.AUGMIX_PROB": 0.6, "INPUT.AUGMIX_SEVERITY": 9},
            {"mix": 0.6, "mixing": (9, 0, 1.0, True)},
        ),
        (
            {"INPUT.AUGMIX_PROB": 0.6, "INPUT.AUGMIX_DEPTH": 5},
            {"mix": 0.6, "mixing": (3, 5, 1.0, True)},
        ),
        (
            {"INPUT.AUGMIX_PROB": 0.6, "INPUT.AUGMIX_ALPHA": 0.2},
            {"mix": 0.6, "mixing": (3, 0, 0.2, True)},
        ),
        (
            {"INPUT.AUGMIX_PROB": 0.6, "INPUT.AUGMIX_COLOURS": False},
            {"mix": 0.6, "mixing": (3, 0, 1.0, False)},
        ),
        ({"INPUT.RE_PROB": 0.7, "INPUT.RE_AREA": [0.3, 0.6]}, {"erase": 0.7, "area": (0.3, 0.6)}),
        (
            {"INPUT.RE_PROB": 0.7, "INPUT.RE_FILL": "mean", "INPUT.PIXEL_MEAN": MEAN},
            {"erase": 0.7, "fill": tuple(MEAN)},
        ),
        (
            {
                "INPUT.PROB": 0.3,
                "INPUT.PADDING": 6,
                "INPUT.RE_PROB": 0.7,
                "INPUT.GRAYSCALE_PROB": 0.2,
                "INPUT.JITTER_PROB": 0.4,
                "INPUT.JITTER": [0.5, 0.4, 0.3, 0.2],
                "INPUT.AUGMIX_PROB": 0.8,
            },
            {
                "flip": 0.3,
                "padding": 6,
                "erase": 0.7,
                "gray": 0.2,
                "jitter": 0.4,
                "strength": (0.5, 0.4, 0.3, 0.2),
                "mix": 0.8,
            },
        ),
    ],
)
def test_augmentation(configure, images_of, picture, options, changes):
    transforms = images_of(configure(INPUT, OFF, options)).transforms
    assert transforms.augment_batch is None
    outputs = assert_same_images(transforms.augment, pipeline(**changes), picture)
    assert all(torch.equal(outputs[0], output) for output in outputs) != bool(changes)


def test_default_augmentation_is_that_of_clip_reid(configure, images_of, picture):
    transforms = images_of(configure(INPUT)).transforms
    assert_same_images(transforms.augment, pipeline(flip=0.5, padding=10, erase=0.5), picture)


@pytest.mark.parametrize(
    ("options", "normalize"), [({}, FIXED), ({"INPUT.NORMALIZATION": "instance"}, instance)]
)
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_images_without_augmentation(
    configure, images_of, picture, options, normalize, interpolation
):
    cfg = configure(INPUT, OFF, options, {"INPUT.TEST_INTERPOLATION": interpolation})
    mode = InterpolationMode(interpolation)
    resize = T.Resize((48, 40), interpolation=mode)
    expected = normalize(T.ToTensor()(resize(picture)))
    transforms = images_of(cfg).transforms
    for found in (transforms.plain, build_evaluation_transform(cfg)):
        torch.testing.assert_close(found(picture), expected, atol=1e-5, rtol=0)
    levels = build_level_transform(cfg)(picture)
    found = build_level_normalization(cfg, torch.device("cpu"))(levels[None])[0]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    trained = normalize(T.ToTensor()(BICUBIC(picture)))
    torch.testing.assert_close(transforms.augment(picture), trained, atol=1e-5, rtol=0)
    assert torch.allclose(trained, expected, atol=1e-3) == (interpolation == "bicubic")


def test_augmentation_on_the_device(configure, images_of):
    options = {"INPUT.PROB": 0.3, "INPUT.PADDING": 6, "INPUT.RE_PROB": 0.7}
    erasing = {"INPUT.RE_AREA": [0.1, 0.2], "INPUT.RE_FILL": "mean"}
    cfg = configure(INPUT, options, erasing, {"INPUT.CACHE": "device"})
    found = images_of(cfg).transforms.augment_batch
    assert found.size == (48, 40)
    assert found.augmentation == Augmentation(
        flip=0.3,
        padding=6,
        erasing=0.7,
        erased_area=(0.1, 0.2),
        erased_fill=tuple(cfg.INPUT.PIXEL_MEAN),
    )
    changes = Changes(*found.draw(np.arange(300)))
    shares = changes.erased_height * changes.erased_width / (48 * 40)
    erased = shares[shares > 0]
    assert 0.6 * 300 < len(erased) < 0.8 * 300
    assert 0.09 < erased.min() < 0.11
    assert 0.19 < erased.max() < 0.21
    levels = torch.full((1, 48, 40, 3), 51, dtype=torch.uint8)
    on_device = Changes(*map(torch.tensor, changes))
    batch = found(levels, torch.zeros(300, dtype=torch.long), on_device)
    fill = torch.tensor(cfg.INPUT.PIXEL_MEAN)[:, None, None]
    assert (batch == fill).all(1).sum((1, 2)).tolist() == (shares * 48 * 40).round().tolist()
    expected = FIXED(torch.full((3, 48, 40), 0.2))
    torch.testing.assert_close(found.normalize(levels)[0], expected)

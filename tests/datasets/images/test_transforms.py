"""Preprocessing and augmentation: equal to the original's; statistics."""

import io
import pickle
import random

import numpy as np
import PIL
import pytest
import torch
from PIL import Image
from torchvision import transforms as T

from datasets.images.augmix import OPERATIONS, AugMix
from datasets.images.transforms import (
    Augmentation,
    augmenting_transform,
    evaluation_transform,
    normalize_instance,
    train_transform,
)

IMAGES = ["img0", "img1", "img2", "img3"]
HALF = [0.5, 0.5, 0.5]
CONSTANTS = {"vit": (HALF, HALF), "imagenet": ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])}
SIZE = (256, 128)
# The arrays were resized by Pillow 13; earlier versions differ by up to two gray levels.
LEVELS = 0 if int(PIL.__version__.split(".")[0]) >= 13 else 2


def plain(size=SIZE, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), **options):
    """The training transform; random changes are off unless given."""
    augmentation = Augmentation(**{"flip": 0, "padding": 0, "erasing": 0, **options})
    return train_transform(size, T.Normalize(mean, std), augmentation)


@pytest.fixture(params=IMAGES)
def case(request, golden):
    """The golden arrays of one image."""
    prefix = f"{request.param}/"
    arrays = golden("transforms").items()
    return {key.removeprefix(prefix): value for key, value in arrays if key.startswith(prefix)}


@pytest.fixture
def image(case):
    return Image.open(io.BytesIO(case["jpeg_bytes"].tobytes())).convert("RGB")


def as_u8(tensor):
    """(3, H, W) in 0..1 -> (H, W, 3) 0..255."""
    return (tensor * 255).round().byte().permute(1, 2, 0).numpy()


def assert_same_pixels(found, expected):
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).max() <= LEVELS


def test_jpeg_decodes_as_in_the_original(case, image):
    assert np.array_equal(np.asarray(image), case["decoded_rgb"])


def test_evaluation_resize_is_exact(case, image):
    resized = as_u8(evaluation_transform(SIZE, T.Normalize((0.0,) * 3, (1.0,) * 3))(image))
    assert_same_pixels(resized, case["val_resized_u8"])


def test_training_resize_is_bicubic_and_exact(case, image):
    assert_same_pixels(as_u8(plain()(image)), case["train_resized_bicubic_u8"])


@pytest.mark.parametrize("constants", ["vit", "imagenet"])
def test_normalized_evaluation_image(case, image, constants):
    image = evaluation_transform(SIZE, T.Normalize(*CONSTANTS[constants]))(image)
    assert image.shape == (3, *SIZE)
    assert image.dtype == torch.float32
    stored = case[f"val_{constants}_slice"]
    level = LEVELS / 255 / min(CONSTANTS[constants][1])
    np.testing.assert_allclose(image[:, ::16, ::16].numpy(), stored, rtol=0, atol=1e-6 + level)
    mean, std = case[f"val_{constants}_mean_std"]
    assert image.mean().item() == pytest.approx(mean, abs=1e-5 + level / 10)
    assert image.std().item() == pytest.approx(std, abs=1e-5 + level / 10)


def test_padded_shape(case, image):
    steps = plain(padding=10).transforms
    to_crop = next(i for i, step in enumerate(steps) if isinstance(step, T.RandomCrop))
    for step in steps[:to_crop]:
        image = step(image)
    height, width, channels = case["train_padded_shape"]
    assert image.size == (width, height)
    assert len(image.getbands()) == channels
    assert steps[to_crop](image).size == SIZE[::-1]


def test_order_of_the_steps():
    steps = [type(step).__name__ for step in plain().transforms]
    assert steps == [
        "Resize",
        "RandomHorizontalFlip",
        "Pad",
        "RandomCrop",
        "ToTensor",
        "Normalize",
        "RandomErasing",
    ]


def test_order_of_all_the_steps():
    steps = plain(grayscale=0.1, jitter=0.1, augmix=0.6).transforms
    assert [type(step).__name__ for step in steps] == [
        "Resize",
        "RandomGrayscale",
        "RandomHorizontalFlip",
        "Pad",
        "RandomCrop",
        "RandomApply",
        "RandomApply",
        "ToTensor",
        "Normalize",
        "RandomErasing",
    ]
    jitter, augmix = steps[5], steps[6]
    assert (jitter.p, augmix.p) == (0.1, 0.6)
    assert [type(x.transforms[0]).__name__ for x in (jitter, augmix)] == ["ColorJitter", "AugMix"]
    assert jitter.transforms[0].brightness == (0.85, 1.15)
    assert jitter.transforms[0].hue == (-0.05, 0.05)


@pytest.mark.parametrize("part", ["jitter", "augmix"])
def test_colour_changes_have_their_probability(part):
    """Each of them changes a colour gradient."""
    slope = np.linspace(30, 220, 16 * 8 * 3).reshape(16, 8, 3).astype(np.uint8)
    image = Image.fromarray(slope)
    unchanged = plain((16, 8))(image)
    transform = plain((16, 8), **{part: 0.5})
    torch.manual_seed(2)
    changed = [not torch.equal(transform(image), unchanged) for _ in range(400)]
    assert np.mean(changed) == pytest.approx(0.5, abs=0.08)


def test_grayscale_has_its_probability():
    colours = np.random.default_rng(0).integers(0, 256, (16, 8, 3), np.uint8)
    transform = plain((16, 8), grayscale=0.25)
    torch.manual_seed(3)
    images = [transform(Image.fromarray(colours)) for _ in range(400)]
    gray = [bool((image[0] == image[1]).all() and (image[1] == image[2]).all()) for image in images]
    assert np.mean(gray) == pytest.approx(0.25, abs=0.07)


def test_instance_normalization_equals_torch():
    image = torch.rand(3, 20, 10, generator=torch.Generator().manual_seed(0)) * 0.3 + 0.2
    expected = torch.nn.InstanceNorm2d(3)(image[None])[0]
    torch.testing.assert_close(normalize_instance(image), expected, rtol=0, atol=1e-5)
    assert normalize_instance(torch.full((3, 4, 4), 0.7)).abs().max() < 1e-3  # one colour


def test_evaluation_interpolation(image):
    normalize = T.Normalize((0.0,) * 3, (1.0,) * 3)
    bilinear = evaluation_transform(SIZE, normalize)(image)
    bicubic = evaluation_transform(SIZE, normalize, T.InterpolationMode.BICUBIC)(image)
    assert torch.equal(bicubic, plain()(image))
    assert not torch.equal(bicubic, bilinear)


def test_padding_is_black_before_normalization():
    """In a white image, padding becomes -mean / std, never 0."""
    mean, std = [0.4, 0.5, 0.6], [0.2, 0.25, 0.5]
    transform = plain((32, 16), mean, std, padding=10)
    white = Image.new("RGB", (16, 32), "white")
    torch.manual_seed(0)
    black = torch.tensor([-2.0, -2.0, -1.2])
    bright = torch.tensor([3.0, 2.0, 0.8])
    shares = []
    for _ in range(40):
        pixels = transform(white).flatten(1).T
        is_black = (pixels - black).abs().amax(1) < 1e-5
        is_white = (pixels - bright).abs().amax(1) < 1e-5
        assert torch.all(is_black ^ is_white)
        shares.append(is_black.float().mean().item())
    assert 0.1 < np.mean(shares) < 0.8


@pytest.mark.parametrize(("probability", "expected"), [(0, 0), (1, 1), (0.5, 0.5)])
def test_flip_mirrors_left_and_right(probability, expected):
    columns = np.zeros((16, 8, 3), np.uint8)
    columns[:, :4] = 255  # the left half is white
    transform = plain((16, 8), flip=probability)
    torch.manual_seed(1)
    flipped = [transform(Image.fromarray(columns))[0, 0, 0].item() == 0 for _ in range(400)]
    assert np.mean(flipped) == pytest.approx(expected, abs=0.08)


def erased_shares(count):
    """Erased share of every image; the images are black before erasing."""
    random.seed(0)
    torch.manual_seed(0)
    transform = plain((64, 32), HALF, HALF, erasing=0.5)
    grey = Image.new("RGB", (32, 64), (0, 0, 0))
    images = torch.stack([transform(grey) for _ in range(count)])
    return images, (images != -1).any(1).float().mean((1, 2)).numpy()


def test_random_erasing_statistics():
    images, shares = erased_shares(2000)
    applied = shares > 0
    assert applied.mean() == pytest.approx(0.49, abs=0.035)
    assert shares[applied].min() > 0.018  # 2 % up to rounding to pixels
    assert shares[applied].max() < 0.345
    assert shares[applied].mean() == pytest.approx(0.1625, abs=0.015)
    noise = images[(images != -1).any(1, keepdim=True).expand_as(images)]
    assert noise.mean().item() == pytest.approx(0, abs=0.02)  # drawn after the normalization
    assert noise.std().item() == pytest.approx(1, abs=0.02)


def test_erased_part_is_one_rectangle():
    images, shares = erased_shares(60)
    for image in images[torch.from_numpy(shares > 0)]:
        rows, columns = torch.nonzero((image != -1).any(0), as_tuple=True)
        height = (rows.max() - rows.min() + 1).item()
        width = (columns.max() - columns.min() + 1).item()
        assert height * width == len(rows)
        assert 0.25 < height / width < 4


def test_no_erasing_when_switched_off():
    transform = plain((64, 32), erasing=0)
    assert all(transform(Image.new("RGB", (32, 64))).eq(0).all() for _ in range(50))


@pytest.mark.parametrize(
    ("area", "fill", "mean_area"),
    [((0.02, 1 / 3), None, 0.163), ((0.02, 0.4), (0.485, 0.456, 0.406), 0.193)],
)
def test_erased_area_and_colour(area, fill, mean_area):
    """The shares that the original programs erase, with noise or with a colour."""
    torch.manual_seed(0)
    random.seed(0)
    gray = Image.new("RGB", (SIZE[1], SIZE[0]), (100, 100, 100))
    transform = plain(erasing=1, erased_area=area, erased_fill=fill, mean=(9, 9, 9))
    shares = []
    for _ in range(1500):
        image = transform(gray)
        erased = image[0] != 100 / 255 - 9
        shares.append(float(erased.float().mean()))
        if fill is not None:
            assert image[:, erased].unique(dim=1).flatten().tolist() == pytest.approx(fill)
    assert sum(shares) / len(shares) == pytest.approx(mean_area, abs=0.008)
    assert min(shares) > area[0] * 0.9
    assert max(shares) < area[1] * 1.02


def test_every_option_of_augmix_reaches_it():
    options = {"augmix_severity": 1, "augmix_depth": 2, "augmix_alpha": 0.1}
    augmentation = Augmentation(augmix=1, augmix_colours=False, **options)
    transform = augmenting_transform(SIZE, T.Normalize([0] * 3, [1] * 3), augmentation)
    (step,) = [y for x in transform.transforms for y in getattr(x, "transforms", [])]
    assert (step.severity, step.depth, step.alpha) == (1, 2, 0.1)
    assert step.operations == OPERATIONS


def test_augmix_reaches_spawned_workers():
    mine = AugMix(3, 0, 1.0, colours=True)
    theirs = pickle.loads(pickle.dumps(mine))
    image = Image.new("RGB", (8, 16), (200, 30, 60))
    for operation, other in zip(mine.operations, theirs.operations, strict=True):
        random.seed(1)
        expected = operation(image, 2.0).tobytes()
        random.seed(1)
        assert other(image, 2.0).tobytes() == expected

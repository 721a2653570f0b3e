"""Augmentation of whole batches: by value, by statistics, and against image by image."""

import math
import random
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data.random_erasing import RandomErasing
from torchvision import transforms as T

from datasets.images.device_augmentation import (
    BatchAugmentation,
    Changes,
    draw_changes,
    noise,
    normalize_fixed,
    normalize_instances,
    split_mix,
)
from datasets.images.transforms import Augmentation, augmenting_transform, normalize_instance

CPU = torch.device("cpu")
SIZE = (32, 16)
MEAN, STD = [0.4, 0.5, 0.6], [0.2, 0.25, 0.5]
FIXED = partial(
    normalize_fixed,
    mean=torch.tensor(MEAN).view(3, 1, 1),
    std=torch.tensor(STD).view(3, 1, 1),
)
NOTHING = {"flip": 0.0, "padding": 0, "erasing": 0.0}


def seeds_of(count, seed=0):
    return np.random.default_rng(seed).integers(2**63, size=count)


def levels_of(count, size=SIZE, seed=0):
    """(N, H, W, 3) random pixels, never black."""
    pixels = np.random.default_rng(seed).integers(1, 256, (count, *size, 3), np.uint8)
    return torch.from_numpy(pixels)


def plain_levels(levels):
    """A normalization that does not change the levels."""
    return levels.permute(0, 3, 1, 2).float()


def changes_of(**given):
    """Changes of one image; those not given are zero."""
    values = dict.fromkeys(Changes._fields, 0) | given
    return Changes(**{name: torch.tensor([value]) for name, value in values.items()})


def drawn(count, size=SIZE, **options):
    augmentation = Augmentation(**{**NOTHING, **options})
    return Changes(*draw_changes(seeds_of(count), size, augmentation))


# ---------------------------------------------------------------------------- random numbers


def test_split_mix_is_the_published_generator():
    """Steele, Lea & Flood (2014): first numbers of the seeds 0 and 1234567."""
    found = split_mix(np.array([0, 1234567]), 3)
    assert found[:, 0].tolist() == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    assert found[:2, 1].tolist() == [6457827717110365317, 3203168211198807973]


def test_changes_depend_only_on_the_seed():
    seeds = seeds_of(20)
    augmentation = Augmentation()
    together = draw_changes(seeds, SIZE, augmentation)
    alone = [draw_changes(seeds[i : i + 1], SIZE, augmentation) for i in range(20)]
    assert np.array_equal(together, np.concatenate(alone, axis=1))
    assert len(np.unique(together, axis=1).T) == 20


def test_flips_have_their_probability():
    for probability in (0.0, 0.3, 1.0):
        assert drawn(8000, flip=probability).flip.mean() == pytest.approx(probability, abs=0.017)


def test_crops_are_uniform_and_independent():
    changes = drawn(22050, padding=10)
    for offsets in (changes.top, changes.left):
        counts = np.bincount(offsets, minlength=21)
        assert len(counts) == 21
        # Chi-squared with 20 degrees of freedom exceeds 45 once in a thousand draws.
        assert ((counts - 1050) ** 2 / 1050).sum() < 45
    assert abs(np.corrcoef(changes.top, changes.left)[0, 1]) < 0.03


def timm_rectangles(count, size, probability):
    """(count, 2) heights and widths that timm draws; 0 = nothing erased."""
    random.seed(0)
    erasing = RandomErasing(probability, mode="const", max_count=1, device="cpu")
    image = torch.ones(1, *size)
    rectangles = []
    for _ in range(count):
        zeros = erasing(image.clone())[0] == 0
        rectangles.append((zeros.any(1).sum().item(), zeros.any(0).sum().item()))
    return np.array(rectangles, float)


def largest_gap(one, other):
    """The Kolmogorov-Smirnov statistic of two samples."""
    places = np.union1d(one, other)
    shares = [np.searchsorted(np.sort(x), places, "right") / len(x) for x in (one, other)]
    return np.abs(shares[0] - shares[1]).max()


@pytest.mark.parametrize(("size", "erased"), [((64, 32), 0.8), ((90, 3), 0.275), ((3, 90), 0.275)])
def test_rectangles_have_the_distribution_of_timm(size, erased):
    """At 3 pixels, most rectangles do not fit, and ten draws often find none."""
    expected = timm_rectangles(4000, size, 0.8)
    changes = drawn(40000, size, erasing=0.8)
    found = np.stack([changes.erased_height, changes.erased_width], 1).astype(float)
    shares = [(sides > 0).all(1).mean() for sides in (found, expected)]
    assert shares == pytest.approx([erased, erased], abs=0.025)
    found, expected = (sides[sides.min(1) > 0] for sides in (found, expected))
    for measure in (
        lambda sides: sides[:, 0],
        lambda sides: sides[:, 1],
        lambda sides: sides.prod(1) / math.prod(size),
        lambda sides: np.log(sides[:, 0] / sides[:, 1]),
    ):
        # Samples of equal distributions exceed this once in a thousand draws.
        limit = 1.95 * math.sqrt(1 / len(found) + 1 / len(expected))
        assert largest_gap(measure(found), measure(expected)) < limit


def test_rectangles_are_uniform_inside_the_image():
    changes = drawn(20000, erasing=1.0)
    sides = (
        (changes.erased_top, changes.erased_height),
        (changes.erased_left, changes.erased_width),
    )
    for (start, length), total in zip(sides, SIZE, strict=True):
        free = total - length
        assert start.min() == 0
        assert (start <= free).all()
        assert (start == free).any()
        # Uniform over 0..free has a mean of one half.
        assert (start / free).mean() == pytest.approx(0.5, abs=0.01)


def test_noise_is_the_hash_of_cell_and_keys():
    def by_hand(cell, key, other):
        x = (cell ^ key) & 0xFFFFFFFF
        x = (x ^ (x >> 16)) * 0x7FEB352D + other & 0xFFFFFFFF
        x = (x ^ (x >> 15)) * 0x846CA68B & 0xFFFFFFFF
        x ^= x >> 16
        signed = x - 2**32 if x >= 2**31 else x
        return (2 * (signed >> 8) + 1) / 2**24

    cells = torch.tensor([0, 1, 77, 98303], dtype=torch.int32)
    keys = [(5, -3), (-(2**31), 2**31 - 1), (0, 0)]
    found = noise(cells, *torch.tensor(keys).T)
    quantiles = torch.tensor([[by_hand(c, *key) for c in cells.tolist()] for key in keys])
    expected = math.sqrt(2) * torch.erfinv(quantiles)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)


def test_noise_is_standard_normal_and_independent():
    changes = drawn(60, (64, 32), erasing=1.0)
    cells = torch.arange(3 * 64 * 32, dtype=torch.int32).view(3, 64, 32)
    x = noise(cells, torch.from_numpy(changes.key), torch.from_numpy(changes.other_key)).double()
    assert x.shape == (60, 3, 64, 32)
    count = x.numel()
    assert x.mean().item() == pytest.approx(0, abs=4 / math.sqrt(count))
    assert x.var().item() == pytest.approx(1, abs=4 * math.sqrt(2 / count))
    assert (x**3).mean().item() == pytest.approx(0, abs=4 * math.sqrt(15 / count))
    assert (x**4).mean().item() == pytest.approx(3, abs=4 * math.sqrt(96 / count))
    assert x.abs().max() < 5.6
    pairs = {
        "right": (x[..., 1:], x[..., :-1]),
        "below": (x[:, :, 1:], x[:, :, :-1]),
        "colours": (x[:, 1:], x[:, :-1]),
        "images": (x[1:], x[:-1]),
    }
    for name, (a, b) in pairs.items():
        correlation = (a * b).mean().item()
        assert correlation == pytest.approx(0, abs=4 / math.sqrt(a.numel())), name


# ------------------------------------------------------------------------------- by value


def test_crop_at_a_known_offset_is_a_slice():
    levels = levels_of(3)
    padded = np.pad(levels.numpy(), ((0, 0), (4, 4), (4, 4), (0, 0)))
    augment = BatchAugmentation(SIZE, Augmentation(0, 4, 0), plain_levels, CPU)
    for top, left in ((4, 4), (0, 0), (8, 8), (1, 7), (8, 0)):
        image = augment(levels, torch.tensor([2]), changes_of(top=top, left=left))
        expected = padded[2, top : top + 32, left : left + 16].transpose(2, 0, 1)
        assert np.array_equal(image[0].numpy(), expected)


def test_image_is_flipped_before_it_is_cropped():
    levels = levels_of(1)
    augment = BatchAugmentation(SIZE, Augmentation(1, 4, 0), plain_levels, CPU)
    image = augment(levels, torch.tensor([0]), changes_of(flip=1, top=1, left=7))
    padded = np.pad(levels[0].numpy()[:, ::-1], ((4, 4), (4, 4), (0, 0)))
    assert np.array_equal(image[0].numpy(), padded[1:33, 7:23].transpose(2, 0, 1))


def test_padding_is_black_before_normalization():
    white = torch.full((1, *SIZE, 3), 255, dtype=torch.uint8)
    augment = BatchAugmentation(SIZE, Augmentation(0, 10, 0), FIXED, CPU)
    (image,) = augment(white, torch.tensor([0]), changes_of(top=0, left=10))
    black, bright = torch.tensor([-2.0, -2.0, -1.2]), torch.tensor([3.0, 2.0, 0.8])
    torch.testing.assert_close(image[:, :10], black.view(3, 1, 1).expand(3, 10, 16))
    torch.testing.assert_close(image[:, 10:], bright.view(3, 1, 1).expand(3, 22, 16))


def test_noise_fills_exactly_the_rectangle():
    levels = levels_of(2)
    augment = BatchAugmentation(SIZE, Augmentation(0, 0, 1), FIXED, CPU)
    where = {"erased_top": 3, "erased_left": 5, "erased_height": 20, "erased_width": 8}
    (image,) = augment(levels, torch.tensor([1]), changes_of(**where, key=9, other_key=-4))
    whole = FIXED(levels[1:])[0]
    cells = torch.arange(3 * 32 * 16, dtype=torch.int32).view(3, *SIZE)
    (expected,) = noise(cells, torch.tensor([9]), torch.tensor([-4]))
    inside = torch.zeros(SIZE, dtype=torch.bool)
    inside[3:23, 5:13] = True
    assert torch.equal(image[:, inside], expected[:, inside])  # drawn after the normalization
    assert torch.equal(image[:, ~inside], whole[:, ~inside])


@pytest.mark.parametrize("normalization", ["fixed", "instance"])
def test_batch_without_changes_equals_the_transform(normalization):
    levels = levels_of(4)
    one, many = {
        "fixed": (T.Normalize(MEAN, STD), FIXED),
        "instance": (normalize_instance, normalize_instances),
    }[normalization]
    transform = augmenting_transform(SIZE, one, Augmentation(**NOTHING))
    augment = BatchAugmentation(SIZE, Augmentation(**NOTHING), many, CPU)
    changes = Changes(*torch.from_numpy(augment.draw(seeds_of(3))))
    images = augment(levels, torch.tensor([3, 0, 3]), changes)
    expected = torch.stack([transform(Image.fromarray(levels[i].numpy())) for i in (3, 0, 3)])
    assert images.is_contiguous()
    torch.testing.assert_close(images, expected, rtol=1e-5, atol=1e-5)


def test_instance_normalization_of_one_colour_is_finite():
    plain = torch.full((1, *SIZE, 3), 178, dtype=torch.uint8)
    assert normalize_instances(plain).abs().max() < 1e-3


@pytest.mark.parametrize("normalize", [FIXED, normalize_instances])
def test_image_is_bit_identical_in_any_batch(normalize):
    """Batches of any size, split over any number of processes."""
    levels, seeds = levels_of(10), seeds_of(10)
    augment = BatchAugmentation(SIZE, Augmentation(0.5, 4, 0.9), normalize, CPU)

    def batch_of(places):
        changes = Changes(*torch.from_numpy(augment.draw(seeds[places])))
        return augment(levels, torch.tensor(places), changes)

    whole = batch_of(list(range(10)))
    for places in ([3], [7, 2], [9, 8, 7, 6, 5]):
        assert torch.equal(batch_of(places), whole[places])


def test_whole_batches_have_the_statistics_of_single_images():
    """Mean and deviation of every pixel over many augmentations of one image."""
    size = (24, 12)
    levels = levels_of(1, size)
    augmentation = Augmentation(padding=3)
    augment = BatchAugmentation(size, augmentation, FIXED, CPU)
    changes = Changes(*torch.from_numpy(augment.draw(seeds_of(20000))))
    batch = augment(levels, torch.zeros(20000, dtype=torch.long), changes)
    random.seed(0)
    torch.manual_seed(0)
    transform = augmenting_transform(size, T.Normalize(MEAN, STD), augmentation)
    image = Image.fromarray(levels[0].numpy())
    single = torch.stack([transform(image) for _ in range(3000)])
    error = single.std(0) / math.sqrt(3000)
    assert ((batch.mean(0) - single.mean(0)) / error).abs().max() < 4.8
    assert (batch.std(0) / single.std(0)).log().abs().max() < 0.12


@pytest.mark.parametrize(
    "normalize", [partial(normalize_fixed, mean=0.5, std=0.2), normalize_instances]
)
def test_augmentation_needs_no_synchronization(normalize):
    """Meta tensors raise when a value, or a shape that depends on one, is read."""
    meta = torch.device("meta")
    augment = BatchAugmentation(SIZE, Augmentation(), normalize, meta)
    changes = Changes(*torch.from_numpy(augment.draw(seeds_of(5))).to(meta))
    levels = torch.empty((9, *SIZE, 3), dtype=torch.uint8, device=meta)
    images = augment(levels, torch.arange(5, device=meta), changes)
    assert (images.shape, images.dtype, images.device) == ((5, 3, *SIZE), torch.float32, meta)


def test_colour_fills_exactly_the_rectangle():
    levels = levels_of(1)
    options = {**NOTHING, "erasing": 1.0, "erased_fill": (0.1, 0.2, 0.3)}
    augment = BatchAugmentation(SIZE, Augmentation(**options), plain_levels, CPU)
    changes = changes_of(erased_top=3, erased_left=2, erased_height=5, erased_width=4)
    image = augment(levels, torch.tensor([0]), changes)[0]
    expected = plain_levels(levels)[0].clone()
    expected[:, 3:8, 2:6] = torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1)
    assert torch.equal(image, expected)


def test_erased_shares_follow_the_options():
    found = drawn(4000, (64, 32), erasing=1.0, erased_area=(0.1, 0.4))
    shares = found.erased_height * found.erased_width / (64 * 32)
    assert shares.min() > 0.08
    assert 0.33 < np.quantile(shares, 0.95) < 0.42
    assert shares.mean() == pytest.approx(0.23, abs=0.02)

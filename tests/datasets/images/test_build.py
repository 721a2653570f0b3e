"""Loaders of a configuration."""

import numpy as np
import pytest
import torch
from PIL import Image

from config import load_cfg
from datasets.images.build import (
    build_evaluation_loader,
    build_evaluation_transform,
    build_level_normalization,
    build_level_transform,
    build_training_images,
)
from datasets.records import Sample
from datasets.registry import read_dataset
from datasets.samplers.build import build_train_sampler
from datasets.sources import join_sources

OPTS = [
    *("INPUT.SIZE_TRAIN", "[64, 32]", "INPUT.SIZE_TEST", "[64, 32]"),
    *("DATALOADER.NUM_WORKERS", "0", "DATALOADER.SAMPLER", "softmax_triplet"),
    *("DATALOADER.NUM_INSTANCE", "2", "SOLVER.STAGE2.IMS_PER_BATCH", "4"),
    *("TEST.IMS_PER_BATCH", "3"),
]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Own data `people`: six identities, four images each in one colour, two cameras."""
    root = tmp_path_factory.mktemp("root")
    for pid in range(6):
        (root / "people" / f"p{pid}").mkdir(parents=True)
        for number in range(4):
            colour = (40 * pid, 255 - 40 * pid, 60 * number)
            name = f"{pid}_c{number % 2}_{number}.png"
            Image.new("RGB", (20, 40), colour).save(root / "people" / f"p{pid}" / name)
    return root


def cfg_of(root, *opts):
    names = ["DATASETS.ROOT_DIR", str(root), "DATASETS.NAMES", "people"]
    return load_cfg(None, [*OPTS, *names, *opts])


@pytest.fixture(scope="module")
def source(root):
    return read_dataset("people", str(root))


def test_training_batches_are_p_x_k_and_augmented_by_epoch(root, source):
    cfg = cfg_of(root)
    joined = join_sources([source])
    images = build_training_images(cfg, joined, torch.device("cpu"))
    loader = images.augmented(build_train_sampler(cfg, joined))
    loader.batch_sampler.set_epoch(1)
    batches = list(loader)
    assert len(batches) == len(loader) == len(loader.batch_sampler)
    for batch in batches:
        assert batch.images.shape == (4, 3, 64, 32)
        assert batch.labels.tolist() == [joined.labels[i] for i in batch.indices.tolist()]
        assert batch.labels[0] == batch.labels[1] != batch.labels[2] == batch.labels[3]
    loader.batch_sampler.set_epoch(1)
    again = list(loader)
    loader.batch_sampler.set_epoch(2)
    other = list(loader)
    assert all(torch.equal(a.images, b.images) for a, b in zip(batches, again, strict=True))
    assert not torch.equal(batches[0].images, other[0].images)


def test_evaluation_loader_keeps_the_order_and_uses_pids(root, source):
    cfg = cfg_of(root, "INPUT.PIXEL_MEAN", "[0, 0, 0]", "INPUT.PIXEL_STD", "[1, 1, 1]")
    samples = source.query + source.gallery
    batches = list(build_evaluation_loader(cfg, samples))
    assert [len(batch) for batch in batches] == [3] * (len(samples) // 3) + (
        [len(samples) % 3] if len(samples) % 3 else []
    )
    indices = torch.cat([batch.indices for batch in batches])
    assert indices.tolist() == list(range(len(samples)))
    pids = torch.cat([batch.labels for batch in batches])
    assert pids.tolist() == [sample.pid for sample in samples]
    cameras = torch.cat([batch.camids for batch in batches])
    assert cameras.tolist() == [sample.camid for sample in samples]
    images = torch.cat([batch.images for batch in batches])
    for sample, image in zip(samples, images, strict=True):
        colour = np.asarray(Image.open(sample.path))[0, 0] / 255
        np.testing.assert_allclose(image.mean((1, 2)).numpy(), colour, atol=1e-6)


def test_broken_images_are_skipped_on_request(root, source, tmp_path):
    cfg = cfg_of(root, "INPUT.ON_BAD_IMAGE", "skip")
    good = source.train
    (tmp_path / "broken.jpg").write_text("nothing")
    broken = Sample(str(tmp_path / "broken.jpg"), 0, 0)
    (batch,) = build_evaluation_loader(cfg, [good[0], broken, good[1]])
    assert batch.indices.tolist() == [0, 2]
    assert batch.bad_images == (broken.path,)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_both_halves_give_the_bits_of_the_evaluation_transform(interpolation):
    cfg = load_cfg(None, [*OPTS, "INPUT.TEST_INTERPOLATION", interpolation])
    pixels = np.random.default_rng(0).integers(0, 256, (2, 50, 41, 3), dtype=np.uint8)
    images = [Image.fromarray(image) for image in pixels]
    levels = torch.stack([build_level_transform(cfg)(image) for image in images])
    assert levels.shape == (2, 64, 32, 3)
    found = build_level_normalization(cfg, torch.device("cpu"))(levels)
    transform = build_evaluation_transform(cfg)
    assert torch.equal(found, torch.stack([transform(image) for image in images]))


def test_channels_are_reversed_before_normalization():
    """Blue, green, red levels 30, 20, 10 with a mean and deviation each."""
    opts = ("INPUT.PIXEL_MEAN", "[0.3, 0.2, 0.1]", "INPUT.PIXEL_STD", "[0.5, 0.25, 0.125]")
    cfg = load_cfg(None, [*OPTS, "INPUT.CHANNELS", "bgr", *opts])
    image = Image.new("RGB", (32, 64), (10, 20, 30))
    found = build_evaluation_transform(cfg)(image)[:, 0, 0]
    expected = [(30 / 255 - 0.3) / 0.5, (20 / 255 - 0.2) / 0.25, (10 / 255 - 0.1) / 0.125]
    assert found.tolist() == pytest.approx(expected)
    levels = build_level_transform(cfg)(image)[None]
    assert torch.equal(
        build_level_normalization(cfg, torch.device("cpu"))(levels)[0, :, 0, 0], found
    )

"""Samplers and loaders of a configuration."""

import os

import numpy as np
import pytest
import torch
from PIL import Image

from config import load_cfg
from datasets.images.build import (
    build_evaluation_loader,
    build_sources,
    build_train_loader,
    build_train_sampler,
)
from datasets.images.dataset import num_workers
from datasets.samplers import RandomIdentitySampler, ShuffledSampler
from datasets.sources import TrainingSet, join_sources

SOFTMAX = ("DATALOADER.SAMPLER", "softmax")
OPTS = [
    *("INPUT.SIZE_TRAIN", "[64, 32]", "INPUT.SIZE_TEST", "[64, 32]"),
    *("DATALOADER.NUM_WORKERS", "0", "DATALOADER.SAMPLER", "softmax_triplet"),
    *("DATALOADER.NUM_INSTANCE", "2", "SOLVER.STAGE2.IMS_PER_BATCH", "4"),
    *("TEST.IMS_PER_BATCH", "3"),
]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Own data `people`: six identities with four images of their own colour by two cameras."""
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


def test_training_set_is_the_train_split(root):
    cfg = cfg_of(root)
    (source,) = build_sources(cfg)
    joined = join_sources(build_sources(cfg))
    assert joined.samples == source.train
    assert joined.num_classes == 3
    assert sorted(set(joined.labels)) == [0, 1, 2]


def test_sampler_by_name(root):
    data = TrainingSet([], [0, 0, 1, 1, 2, 2], [0] * 6, 3, 1, 1, ("some",), (0,))
    p_x_k = build_train_sampler(cfg_of(root, "SOLVER.SEED", "1"), data)
    assert isinstance(p_x_k, RandomIdentitySampler)
    assert (p_x_k.num_pids, p_x_k.num_instances, p_x_k.seed) == (2, 2, 1)
    shuffled = build_train_sampler(cfg_of(root, *SOFTMAX), data)
    assert isinstance(shuffled, ShuffledSampler)
    assert [len(batch) for batch in shuffled] == [4, 2]


def test_train_loader_yields_p_x_k_batches_of_augmented_images(root):
    cfg = cfg_of(root)
    joined = join_sources(build_sources(cfg))
    loader = build_train_loader(cfg, joined, build_train_sampler(cfg, joined))
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


def test_evaluation_loader_keeps_the_order_and_uses_pids(root):
    cfg = cfg_of(root, "INPUT.PIXEL_MEAN", "[0, 0, 0]", "INPUT.PIXEL_STD", "[1, 1, 1]")
    (source,) = build_sources(cfg)
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


def test_evaluation_loader_takes_other_labels(root):
    cfg = cfg_of(root)
    joined = join_sources(build_sources(cfg))
    batches = build_evaluation_loader(cfg, joined.samples, joined.labels)
    assert torch.cat([batch.labels for batch in batches]).tolist() == joined.labels


def test_broken_images_are_skipped_on_request(root, tmp_path):
    cfg = cfg_of(root, "INPUT.ON_BAD_IMAGE", "skip")
    joined = join_sources(build_sources(cfg))
    (tmp_path / "broken.jpg").write_text("nothing")
    broken = joined.samples[0].__class__(str(tmp_path / "broken.jpg"), 0, 0)
    (batch,) = build_evaluation_loader(cfg, [joined.samples[0], broken, joined.samples[1]])
    assert batch.indices.tolist() == [0, 2]
    assert batch.bad_images == (broken.path,)


def test_never_more_workers_than_cores():
    assert num_workers(0) == 0
    assert num_workers(1) == 1
    assert num_workers(10_000) == os.cpu_count()

"""A training set of random pixels, and its `TrainingImages` in any place."""

import numpy as np
import pytest
import torch
from PIL import Image

from config import load_cfg
from datasets.images.build import build_training_images
from datasets.images.placement import FreeMemory
from datasets.records import Sample
from datasets.samplers import RandomIdentitySampler
from datasets.sources import TrainingSet

CPU = torch.device("cpu")
PLENTY = FreeMemory(100 * 2**30)
OPTS = [
    *("INPUT.SIZE_TRAIN", "[64, 32]", "INPUT.SIZE_TEST", "[64, 32]", "DATALOADER.NUM_WORKERS", "0"),
    *("SOLVER.STAGE2.IMS_PER_BATCH", "8", "DATALOADER.NUM_INSTANCE", "2"),
    *("DATALOADER.SAMPLER", "softmax_triplet", "TEST.IMS_PER_BATCH", "7"),
]


def training_set(samples):
    labels = [sample.pid - 100 for sample in samples]
    return TrainingSet(samples, labels, [0] * len(samples), 8, 3, 2, ("drawn",), (0,))


@pytest.fixture(scope="package")
def data(tmp_path_factory):
    """Eight identities with four images of random pixels and sizes each."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    samples = []
    for number in range(32):
        height, width = rng.integers(20, 90, 2)
        pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
        path = folder / f"{number}.png"
        Image.fromarray(pixels).save(path)
        samples.append(Sample(str(path), 100 + number // 4, number % 3, number % 2))
    return training_set(samples)


@pytest.fixture(scope="package")
def broken():
    """Positions of the broken files of `damaged`."""
    return 4, 9, 10


@pytest.fixture
def damaged(data, broken, tmp_path):
    """`data` with three broken files."""
    samples = list(data.samples)
    for place in broken:
        path = tmp_path / f"{place}.png"
        path.write_text("nothing")
        samples[place] = Sample(str(path), samples[place].pid, place % 3, place % 2)
    return training_set(samples)


@pytest.fixture(scope="package")
def images_of():
    """`images_of(data, "KEY", "VALUE", ...)` -> `TrainingImages`."""

    def build(data, *opts, device=CPU, free=PLENTY):
        return build_training_images(load_cfg(None, [*OPTS, *opts]), data, device, free=free)

    return build


@pytest.fixture(scope="package")
def loader_of(images_of):
    """`loader_of(data, "ram", "KEY", "VALUE", ...)` -> augmented batches, by default P x K."""

    def build(data, place, *opts, plan=None, **options):
        plan = RandomIdentitySampler(data.labels, 4, 2, seed=0) if plan is None else plan
        return images_of(data, "INPUT.CACHE", place, *opts, **options).augmented(plan)

    return build


@pytest.fixture(scope="package")
def assert_same_batches():
    """`assert_same_batches(one, other)`: equal in every bit."""

    def check(one, other):
        assert len(one) == len(other) > 0
        for a, b in zip(one, other, strict=True):
            for name in ("images", "labels", "camids", "viewids", "indices"):
                assert torch.equal(getattr(a, name), getattr(b, name)), name
            assert a.bad_images == b.bad_images

    return check

"""Decoding, broken files, and augmentation that depends only on the key's seed."""

import random

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import transforms as T

from datasets.images import workers
from datasets.images.dataset import ImageDataset, collate
from datasets.images.decode import BadImageError
from datasets.images.transforms import Augmentation, evaluation_transform, train_transform
from datasets.images.workers import limit_workers
from datasets.records import Sample
from datasets.samplers import EpochBatches, SeededIndex, ShuffledSampler

SIZE = (32, 16)
NORMALIZE = T.Normalize([0.5] * 3, [0.5] * 3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Twelve good JPEGs 00.jpg .. 11.jpg, and broken files."""
    path = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for number in range(12):
        pixels = rng.integers(0, 256, (40, 20, 3), np.uint8)
        Image.fromarray(pixels).save(path / f"{number:02d}.jpg")
    whole = (path / "00.jpg").read_bytes()
    (path / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (path / "text.jpg").write_text("this is not an image")
    (path / "empty.jpg").write_bytes(b"")
    return path


def dataset(folder, names, transform=None, **options):
    samples = [Sample(str(folder / name), 10 + i, i % 3, i % 2) for i, name in enumerate(names)]
    transform = transform or evaluation_transform(SIZE, NORMALIZE)
    return ImageDataset(samples, [sample.pid for sample in samples], transform, **options)


GOOD = [f"{number:02d}.jpg" for number in range(12)]


def test_items_carry_ids_and_position(folder):
    item = dataset(folder, GOOD)[7]
    assert (item.label, item.camid, item.viewid, item.index) == (17, 1, 1, 7)
    assert item.path.endswith("07.jpg")
    assert item.image.shape == (3, *SIZE)


def test_broken_file_is_an_error_unless_skipped(folder):
    broken = dataset(folder, [GOOD[0], "text.jpg"])
    with pytest.raises(BadImageError, match=r"text\.jpg"):
        broken[1]
    skipping = dataset(folder, [GOOD[0], "text.jpg"], skip_bad_images=True)
    assert skipping[1].image is None


@pytest.mark.parametrize("workers", [0, 2])
def test_skipped_files_are_counted_and_rows_stay_aligned(folder, workers):
    names = [GOOD[0], "text.jpg", GOOD[1], "truncated.jpg", "empty.jpg", GOOD[2], GOOD[3]]
    images = dataset(folder, names, skip_bad_images=True)
    batches = list(DataLoader(images, batch_size=3, collate_fn=collate, num_workers=workers))
    assert [len(batch) for batch in batches] == [2, 1, 1]
    assert [batch.indices.tolist() for batch in batches] == [[0, 2], [5], [6]]
    assert [batch.labels.tolist() for batch in batches] == [[10, 12], [15], [16]]
    assert [batch.camids.tolist() for batch in batches] == [[0, 2], [2], [0]]
    bad = [path for batch in batches for path in batch.bad_images]
    assert [path.rsplit("/", 1)[1] for path in bad] == ["text.jpg", "truncated.jpg", "empty.jpg"]
    for batch in batches:
        for row, index in enumerate(batch.indices.tolist()):
            assert torch.equal(batch.images[row], images[index].image)


def test_batch_of_broken_files_only_is_empty(folder):
    images = dataset(folder, ["text.jpg", "empty.jpg"], skip_bad_images=True)
    batch = collate([images[0], images[1]])
    assert len(batch) == 0
    assert len(batch.bad_images) == 2


def augmented_epoch(folder, workers, first_batch=0):
    transform = train_transform(SIZE, NORMALIZE, Augmentation(padding=4))
    images = dataset(folder, GOOD, transform)
    keys = EpochBatches(ShuffledSampler(len(GOOD), 5, seed=0), seed=3)
    keys.set_epoch(2, first_batch)
    return list(DataLoader(images, batch_sampler=keys, collate_fn=collate, num_workers=workers))


def test_augmentation_is_the_same_for_any_number_of_workers(folder):
    alone, one, two = (augmented_epoch(folder, workers) for workers in (0, 1, 2))
    resumed = augmented_epoch(folder, 2, first_batch=1)
    assert len(alone) == 3
    for a, b, c in zip(alone, one, two, strict=True):
        assert torch.equal(a.indices, b.indices)
        assert torch.equal(a.images, b.images)
        assert torch.equal(a.images, c.images)
    for a, b in zip(alone[1:], resumed, strict=True):
        assert torch.equal(a.images, b.images)


def test_augmentation_depends_on_the_seed_of_the_key(folder):
    images = dataset(folder, GOOD, train_transform(SIZE, NORMALIZE, Augmentation()))
    one, again, other = (images[SeededIndex(4, seed)].image for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_global_generators_keep_their_state(folder):
    images = dataset(folder, GOOD, train_transform(SIZE, NORMALIZE, Augmentation()))
    random.seed(5)
    torch.manual_seed(5)
    before = random.getstate(), torch.get_rng_state()
    numbers = np.random.get_state()[1].copy()  # noqa: NPY002 - the global generator is meant
    images[SeededIndex(2, 2**62 + 11)]
    assert random.getstate() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])
    assert np.array_equal(np.random.get_state()[1], numbers)  # noqa: NPY002


def test_global_generators_are_restored_after_an_error():
    def explode(_image):
        random.random()
        torch.rand(1)
        raise RuntimeError("augmentation failed")

    images = ImageDataset([], [], explode)
    before = random.getstate(), torch.get_rng_state()
    with pytest.raises(RuntimeError, match="augmentation failed"):
        images._transform(Image.new("RGB", (4, 4)), seed=1)
    assert random.getstate() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])


def test_error_in_a_worker_keeps_its_type_and_message(folder):
    images = dataset(folder, [GOOD[0], "text.jpg"])
    with pytest.raises(BadImageError) as here:
        images[1]
    there = None
    try:
        list(DataLoader(images, batch_size=2, collate_fn=collate, num_workers=1))
    except BadImageError as error:
        there = str(error.with_traceback(None))  # which would keep the worker alive
    assert there == str(here.value)
    assert str(folder / "text.jpg") in there


def test_workers_are_at_most_one_per_core(monkeypatch):
    assert limit_workers(0) == 0
    assert limit_workers(1) == 1
    monkeypatch.setattr(workers, "available_cores", lambda: 6)
    assert limit_workers(10_000) == 6
    assert [limit_workers(10_000, processes) for processes in (2, 4, 7)] == [3, 1, 1]

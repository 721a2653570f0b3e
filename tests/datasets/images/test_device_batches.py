"""Batches augmented on the device: the ids of batches from files, changes by seed."""

import pytest
import torch

from datasets.samplers import ShuffledSampler
from datasets.samplers.planner import EpochPlan, EpochPlanner

CPU = torch.device("cpu")
SKIP = ("INPUT.ON_BAD_IMAGE", "skip")


def epoch_of(loader, epoch=1, first_batch=0):
    loader.batch_sampler.set_epoch(epoch, first_batch)
    return list(loader)


def test_batches_on_the_device_have_the_ids_of_their_images(data, loader_of):
    files, device = epoch_of(loader_of(data, "none")), epoch_of(loader_of(data, "device"))
    assert len(files) == len(device) == 3
    for a, b in zip(files, device, strict=True):
        for name in ("labels", "camids", "viewids", "indices"):
            assert torch.equal(getattr(a, name), getattr(b, name)), name
        assert (a.images.shape, a.images.dtype) == (b.images.shape, b.images.dtype)
        assert not torch.equal(a.images, b.images)  # other random numbers


@pytest.mark.parametrize("channels", ["rgb", "bgr"])
@pytest.mark.parametrize("normalization", ["fixed", "instance"])
def test_images_without_changes_equal_their_files(data, loader_of, normalization, channels):
    opts = [*("INPUT.PROB", "0", "INPUT.PADDING", "0", "INPUT.RE_PROB", "0")]
    opts += ["INPUT.NORMALIZATION", normalization, "INPUT.CHANNELS", channels]
    files = epoch_of(loader_of(data, "none", *opts))
    for a, b in zip(files, epoch_of(loader_of(data, "device", *opts)), strict=True):
        torch.testing.assert_close(a.images, b.images, rtol=1e-5, atol=1e-5)


def test_augmentation_depends_only_on_seeds(data, loader_of, assert_same_batches):
    """Epochs differ; an epoch repeated, or resumed after its first batch, does not."""
    loader = loader_of(data, "device")
    first = epoch_of(loader)
    assert_same_batches(first, epoch_of(loader))
    assert_same_batches(first, epoch_of(loader_of(data, "device")))
    assert_same_batches(first[1:], epoch_of(loader, first_batch=1))
    assert len(loader) == 2
    other = epoch_of(loader, 2)
    assert not torch.equal(first[0].images, other[0].images)
    reseeded = epoch_of(loader_of(data, "device", "SOLVER.SEED", "1"))
    assert torch.equal(first[0].indices, reseeded[0].indices)
    assert not torch.equal(first[0].images, reseeded[0].images)


def test_share_of_a_batch_equals_its_part_of_the_whole(data, loader_of):
    """Several processes augment a batch as one process does."""
    loader = loader_of(data, "device", "INPUT.NORMALIZATION", "instance")
    loader.batch_sampler.set_epoch(1)
    whole = next(iter(loader))
    keys = next(iter(loader.batch_sampler))
    for part in (slice(0, 4), slice(4, 8), slice(7, 8)):
        own = loader._batch(keys[part])
        assert torch.equal(own.images, whole.images[part])
        assert torch.equal(own.labels, whole.labels[part])


def test_broken_files_have_no_row_on_the_device(damaged, loader_of):
    files, device = loader_of(damaged, "none", *SKIP), loader_of(damaged, "device", *SKIP)
    for a, b in zip(epoch_of(files), epoch_of(device), strict=True):
        assert a.bad_images == b.bad_images
        assert a.indices.tolist() == b.indices.tolist()
        assert len(a) == len(b) == len(b.images)


def test_batch_of_broken_files_only_is_empty(damaged, broken, loader_of):
    class OneBatch(EpochPlanner):
        def plan_epoch(self):
            return EpochPlan([list(broken)], {})

    (batch,) = epoch_of(loader_of(damaged, "device", *SKIP, plan=OneBatch(seed=0)))
    assert len(batch) == 0
    assert batch.bad_images == tuple(damaged.samples[place].path for place in broken)


def test_batch_on_the_device_is_not_copied_when_moved_there(data, loader_of):
    (batch, *_) = epoch_of(loader_of(data, "device"))
    moved = batch.to(CPU)
    for name in ("images", "labels", "camids", "viewids", "indices"):
        assert getattr(moved, name) is getattr(batch, name)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_batches_on_a_gpu_need_no_synchronization(data, loader_of):
    device = torch.device("cuda", 0)
    for normalization in ("fixed", "instance"):
        opts = ("INPUT.NORMALIZATION", normalization)
        loader = loader_of(data, "device", *opts, device=device)
        epoch_of(loader)
        torch.cuda.set_sync_debug_mode("error")
        try:
            batches = epoch_of(loader)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        for a, b in zip(batches, epoch_of(loader_of(data, "device", *opts)), strict=True):
            assert a.images.device == a.labels.device == device
            assert a.indices.device == CPU
            torch.testing.assert_close(a.images.cpu(), b.images, rtol=1e-4, atol=1e-4)
            assert torch.equal(a.labels.cpu(), b.labels)


def test_shuffled_batches_with_a_short_last_one(data, loader_of):
    plan = ShuffledSampler(32, 5, seed=0)
    batches = epoch_of(loader_of(data, "device", "DATALOADER.SAMPLER", "softmax", plan=plan))
    assert [len(batch.images) for batch in batches] == [5] * 6 + [2]
    assert sorted(i for batch in batches for i in batch.indices.tolist()) == list(range(32))


def test_process_without_a_share_of_the_last_batch_gets_an_empty_one(data, loader_of):
    """Two images for four processes."""
    loader = loader_of(data, "device")
    batch = loader._batch([])
    assert batch.images.shape == (0, 3, *loader._augment.size)
    assert len(batch) == len(batch.indices) == 0

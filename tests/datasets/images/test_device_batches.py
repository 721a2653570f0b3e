"""Training batches of resident images: equal to those of files, or made on the device by seeds."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import Resize

from config import ConfigError, load_cfg
from datasets.images.build import build_plain_loader, build_train_loader
from datasets.images.build_resident import build_resident_images
from datasets.images.placement import FreeMemory
from datasets.images.transforms import TRAINING_INTERPOLATION
from datasets.records import Sample
from datasets.samplers import RandomIdentitySampler, ShuffledSampler
from datasets.sources import TrainingSet

CPU = torch.device("cpu")
GB = 2**30
PLENTY = FreeMemory(100 * GB)
COLOURS = ("INPUT.GRAYSCALE_PROB", "0.3", "INPUT.JITTER_PROB", "0.5", "INPUT.AUGMIX_PROB", "0.3")
OPTS = [
    *("INPUT.SIZE_TRAIN", "[64, 32]", "INPUT.SIZE_TEST", "[64, 32]", "DATALOADER.NUM_WORKERS", "0"),
    *("SOLVER.STAGE2.IMS_PER_BATCH", "8", "DATALOADER.NUM_INSTANCE", "2"),
    *("DATALOADER.SAMPLER", "softmax_triplet", "TEST.IMS_PER_BATCH", "7"),
]
BROKEN = (4, 9, 10)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Eight identities with four pictures of random pixels and sizes each."""
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


def training_set(samples):
    labels = [sample.pid - 100 for sample in samples]
    return TrainingSet(samples, labels, [0] * len(samples), 8, 3, 2, ("drawn",), (0,))


@pytest.fixture
def damaged(data, tmp_path):
    """The same with three broken files."""
    samples = list(data.samples)
    for place in BROKEN:
        path = tmp_path / f"{place}.png"
        path.write_text("nothing")
        samples[place] = Sample(str(path), samples[place].pid, place % 3, place % 2)
    return training_set(samples)


def loader_of(data, place, *opts, plan=None, device=CPU, free=PLENTY):
    cfg = load_cfg(None, [*OPTS, "INPUT.CACHE", place, *opts])
    resident = build_resident_images(cfg, data, device, free=free)
    plan = RandomIdentitySampler(data.labels, 4, 2, seed=0) if plan is None else plan
    return build_train_loader(cfg, data, plan, resident)


def epoch_of(loader, epoch=1, first_batch=0):
    loader.batch_sampler.set_epoch(epoch, first_batch)
    return list(loader)


def assert_same_batches(one, other):
    assert len(one) == len(other) > 0
    for a, b in zip(one, other, strict=True):
        for name in ("images", "labels", "camids", "viewids", "indices"):
            assert torch.equal(getattr(a, name), getattr(b, name)), name
        assert a.bad_images == b.bad_images


# -------------------------------------------------------------------------------------- ram


@pytest.mark.parametrize("workers", ["0", "2"])
@pytest.mark.parametrize("opts", [(), COLOURS, ("INPUT.NORMALIZATION", "instance")])
def test_images_in_ram_give_the_batches_of_their_files(data, opts, workers):
    files = loader_of(data, "none", *opts)
    ram = loader_of(data, "ram", *opts, "DATALOADER.NUM_WORKERS", workers)
    for epoch in (1, 2):
        assert_same_batches(epoch_of(files, epoch), epoch_of(ram, epoch))
    assert_same_batches(epoch_of(files, 2, 1), epoch_of(ram, 2, 1))


def test_images_in_ram_are_decoded_once(data, monkeypatch):
    ram = loader_of(data, "ram")
    monkeypatch.setattr(
        "datasets.images.decode.read_image", lambda path: pytest.fail(f"reads {path}")
    )
    assert not any(isinstance(step, Resize) for step in ram.dataset.transform.transforms)
    assert len(epoch_of(ram)) == 3


@pytest.mark.parametrize("workers", ["0", "2"])
def test_broken_files_are_left_out_of_the_same_batches(damaged, workers):
    opts = ("INPUT.ON_BAD_IMAGE", "skip", "DATALOADER.NUM_WORKERS", workers)
    files, ram = (
        epoch_of(loader_of(damaged, "none", *opts)),
        epoch_of(loader_of(damaged, "ram", *opts)),
    )
    assert_same_batches(files, ram)
    bad = [path for batch in ram for path in batch.bad_images]
    assert set(bad) == {damaged.samples[place].path for place in BROKEN}


@pytest.mark.parametrize("place", ["ram", "device"])
def test_broken_file_stops_before_training(damaged, place):
    with pytest.raises(RuntimeError, match=r"4\.png.*INPUT\.ON_BAD_IMAGE skip"):
        loader_of(damaged, place)


# ----------------------------------------------------------------------------------- device


def test_batches_on_the_device_carry_what_is_known_of_their_images(data):
    files, device = epoch_of(loader_of(data, "none")), epoch_of(loader_of(data, "device"))
    assert len(files) == len(device) == 3
    for a, b in zip(files, device, strict=True):
        for name in ("labels", "camids", "viewids", "indices"):
            assert torch.equal(getattr(a, name), getattr(b, name)), name
        assert (a.images.shape, a.images.dtype) == (b.images.shape, b.images.dtype)
        assert not torch.equal(a.images, b.images)  # other random numbers


@pytest.mark.parametrize("normalization", ["fixed", "instance"])
def test_unchanged_images_on_the_device_are_those_of_the_files(data, normalization):
    opts = [*("INPUT.PROB", "0", "INPUT.PADDING", "0", "INPUT.RE_PROB", "0")]
    opts += ["INPUT.NORMALIZATION", normalization]
    files = epoch_of(loader_of(data, "none", *opts))
    for a, b in zip(files, epoch_of(loader_of(data, "device", *opts)), strict=True):
        torch.testing.assert_close(a.images, b.images, rtol=1e-5, atol=1e-5)


def test_only_the_seed_of_an_image_decides_its_augmentation(data):
    """Epochs differ; the same epoch, and what is left of it after a stop, come out again."""
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


def test_part_of_a_batch_is_that_of_the_whole_batch(data):
    """As when the seeds of a batch are dealt out to several processes."""
    loader = loader_of(data, "device", "INPUT.NORMALIZATION", "instance")
    loader.batch_sampler.set_epoch(1)
    whole = next(iter(loader))
    keys = next(iter(loader.batch_sampler))
    for part in (slice(0, 4), slice(4, 8), slice(7, 8)):
        own = loader._batch(keys[part])
        assert torch.equal(own.images, whole.images[part])
        assert torch.equal(own.labels, whole.labels[part])


def test_broken_files_have_no_row_on_the_device(damaged):
    opts = ("INPUT.ON_BAD_IMAGE", "skip")
    files, device = loader_of(damaged, "none", *opts), loader_of(damaged, "device", *opts)
    for a, b in zip(epoch_of(files), epoch_of(device), strict=True):
        assert a.bad_images == b.bad_images
        assert a.indices.tolist() == b.indices.tolist()
        assert len(a) == len(b) == len(b.images)


def test_batch_of_broken_files_only_is_empty(damaged):
    class OneBatch:
        def set_epoch(self, epoch):
            pass

        def __iter__(self):
            return iter([list(BROKEN)])

        def __len__(self):
            return 1

    opts = ("INPUT.ON_BAD_IMAGE", "skip")
    (batch,) = epoch_of(loader_of(damaged, "device", *opts, plan=OneBatch()))
    assert len(batch) == 0
    assert batch.bad_images == tuple(damaged.samples[place].path for place in BROKEN)


def test_batch_on_the_device_is_moved_at_no_cost(data):
    (batch, *_) = epoch_of(loader_of(data, "device"))
    moved = batch.to(CPU)
    for name in ("images", "labels", "camids", "viewids", "indices"):
        assert getattr(moved, name) is getattr(batch, name)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_batches_on_a_gpu_are_made_without_waiting_for_it(data):
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


# ---------------------------------------------------------------------------- what is chosen


BICUBIC = ("INPUT.TEST_INTERPOLATION", "bicubic")
GRAPH = ("DATALOADER.SAMPLER", "dfgs_image")
ONE_GRAPH_OF_ALL = (
    *("DATALOADER.DFGS.REFRESH_PERIOD", "100"),
    *("DATALOADER.DFGS.IMAGES_PER_ID", "99"),
)
BASELINE = ("MODEL.TEXT_TOWER", "False")
ALL_IMAGES = 32 * 64 * 32 * 3  # bytes


@pytest.mark.parametrize(
    ("opts", "free", "place", "keeps_plain"),
    [
        # CLIP-ReID: other interpolations, and stage 1 reads every image once.
        ((), PLENTY, "ram", False),
        # CLIP-DFGS: equal interpolations.
        (BICUBIC, PLENTY, "ram", True),
        ((*BICUBIC, *BASELINE), PLENTY, "ram", False),
        ((*BICUBIC, "SOLVER.STAGE1.WEIGHT", "some.pth"), PLENTY, "ram", False),
        # A graph of images reads a quarter of them in every epoch.
        (GRAPH, PLENTY, "ram", True),
        ((*GRAPH, *BASELINE, "SOLVER.STAGE2.MAX_EPOCHS", "4"), PLENTY, "ram", False),
        ((*GRAPH, *BASELINE, "SOLVER.STAGE2.MAX_EPOCHS", "5"), PLENTY, "ram", True),
        ((*GRAPH, *BASELINE, "DATALOADER.DFGS.REFRESH_PERIOD", "25"), PLENTY, "ram", False),
        ((*GRAPH, *BASELINE, *ONE_GRAPH_OF_ALL), PLENTY, "ram", False),
        # Two caches are too much, one is not.
        (GRAPH, FreeMemory(4 * ALL_IMAGES), "ram", True),
        (GRAPH, FreeMemory(3 * ALL_IMAGES), "ram", False),
        ((*GRAPH, *BICUBIC), FreeMemory(2 * ALL_IMAGES), "ram", True),
        (GRAPH, FreeMemory(ALL_IMAGES), "none", False),
        # On a GPU.
        ((), FreeMemory(100 * GB, 100 * GB), "device", False),
        (BICUBIC, FreeMemory(100 * GB, 100 * GB), "device", True),
        (BICUBIC, FreeMemory(ALL_IMAGES, 100 * GB), "device", False),
        (COLOURS, FreeMemory(100 * GB, 100 * GB), "ram", False),
        # Every image is read once.
        (("SOLVER.STAGE2.MAX_EPOCHS", "1"), PLENTY, "none", False),
        (("SOLVER.STAGE2.MAX_EPOCHS", "1", "SOLVER.STAGE0.MAX_EPOCHS", "1"), PLENTY, "ram", False),
        ((*BICUBIC, "SOLVER.STAGE2.MAX_EPOCHS", "1"), PLENTY, "ram", True),
        ((*BICUBIC, *BASELINE, "SOLVER.STAGE2.MAX_EPOCHS", "1"), PLENTY, "none", False),
    ],
)
def test_place_by_configuration(data, opts, free, place, keeps_plain):
    cfg = load_cfg(None, [*OPTS, *opts])
    resident = build_resident_images(cfg, data, CPU, free=free)
    assert resident.place == place
    assert resident.training == TRAINING_INTERPOLATION
    assert (resident.evaluation is not None) == keeps_plain


def test_summary_for_the_log(data):
    summary = build_resident_images(load_cfg(None, OPTS), data, CPU, free=PLENTY).summary
    assert summary == "training images (0.000183 GB): kept in RAM; 100 GB are free"


@pytest.mark.parametrize("place", ["ram", "device"])
def test_images_that_do_not_fit_are_refused(data, place):
    cfg = load_cfg(None, [*OPTS, "INPUT.CACHE", place])
    with pytest.raises(ConfigError, match=r"INPUT\.CACHE: .* needs 0\.000183 GB for 32 training"):
        build_resident_images(cfg, data, CPU, free=FreeMemory(ALL_IMAGES - 1))
    assert build_resident_images(cfg, data, CPU, free=FreeMemory(ALL_IMAGES)).place == place


@pytest.mark.parametrize("workers", ["0", "2"])
@pytest.mark.parametrize("opts", [GRAPH, BICUBIC, (*BICUBIC, "INPUT.NORMALIZATION", "instance")])
@pytest.mark.parametrize("place", ["ram", "device"])
def test_images_without_augmentation_are_those_of_the_files(damaged, place, opts, workers):
    opts = [*OPTS, *opts, "INPUT.ON_BAD_IMAGE", "skip", "DATALOADER.NUM_WORKERS", workers]
    positions = [*range(31, 0, -2), 4, 10]

    def batches_from(place):
        cfg = load_cfg(None, [*opts, "INPUT.CACHE", place])
        resident = build_resident_images(cfg, damaged, CPU, free=PLENTY)
        assert (resident.evaluation is None) == (place == "none")
        return list(build_plain_loader(cfg, damaged, resident, positions))

    batches = batches_from(place)
    assert_same_batches(batches_from("none"), batches)
    indices = torch.cat([batch.indices for batch in batches]).tolist()
    assert [positions[i] for i in indices] == [i for i in positions if i not in BROKEN]
    labels = torch.cat([batch.labels for batch in batches]).tolist()
    assert labels == [damaged.labels[positions[i]] for i in indices]


def test_shuffled_batches_with_a_short_last_one(data):
    plan = ShuffledSampler(32, 5, seed=0)
    batches = epoch_of(loader_of(data, "device", "DATALOADER.SAMPLER", "softmax", plan=plan))
    assert [len(batch.images) for batch in batches] == [5] * 6 + [2]
    assert sorted(i for batch in batches for i in batch.indices.tolist()) == list(range(32))

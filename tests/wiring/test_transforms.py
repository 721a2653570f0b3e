"""From INPUT, DATALOADER and TEST to images: augmentation, evaluation, batches, cache."""

import os
import random

import pytest
import torch
from PIL import Image
from timm.data.random_erasing import RandomErasing
from torchvision import transforms as T
from torchvision.transforms import InterpolationMode

from config import ConfigError
from datasets.images import build as images_build
from datasets.images import workers
from datasets.images.build import (
    build_evaluation_loader,
    build_evaluation_transform,
    build_level_normalization,
    build_level_transform,
    build_loading,
)
from datasets.images.dataset import Loading
from datasets.images.decode import BadImageError
from datasets.images.placement import FreeMemory
from datasets.images.transforms import Augmentation
from datasets.records import Sample
from datasets.samplers import RandomIdentitySampler

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


def pipeline(*, gray=0.0, flip=0.0, padding=0, jitter=0.0, strength=(), mix=0.0, erase=0.0):
    """CLIP-DFGS's augmentation, written out."""
    steps = [BICUBIC]
    if gray:
        steps.append(T.RandomGrayscale(gray))
    steps += [T.RandomHorizontalFlip(flip), T.Pad(padding), T.RandomCrop((48, 40))]
    if jitter:
        steps.append(T.RandomApply([T.ColorJitter(*strength)], jitter))
    if mix:
        steps.append(T.RandomApply([T.AugMix(severity=3)], mix))
    erasing = RandomErasing(
        erase, min_area=0.02, max_area=1 / 3, min_aspect=0.3, mode="pixel", device="cpu"
    )
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
    cfg = configure(INPUT, options, {"INPUT.CACHE": "device"})
    found = images_of(cfg).transforms.augment_batch
    assert found.size == (48, 40)
    assert found.augmentation == Augmentation(flip=0.3, padding=6, erasing=0.7)
    levels = torch.full((1, 48, 40, 3), 51, dtype=torch.uint8)
    expected = FIXED(torch.full((3, 48, 40), 0.2))
    torch.testing.assert_close(found.normalize(levels)[0], expected)


# ----------------------------------------------------------------------------------------- batches


def test_sizes_seed_and_batches(configure, images_of, data):
    cfg = configure(INPUT, {"TEST.IMS_PER_BATCH": 9, "SOLVER.SEED": 5})
    images = images_of(cfg)
    assert (images.seed, images.plain_batch_size, images.skip_bad_images) == (5, 9, False)
    batches = list(images.plain(range(20)))
    assert [len(batch) for batch in batches] == [9, 9, 2]
    assert batches[0].images.shape == (9, 3, 48, 40)
    loader = build_evaluation_loader(cfg, data.samples[:20])
    assert [len(batch) for batch in loader] == [9, 9, 2]
    batch = next(iter(images.augmented(RandomIdentitySampler(data.labels, 4, 2))))
    assert batch.images.shape == (8, 3, 48, 40)


def augmented_by(configure, images_of, data, seed, epoch):
    loader = images_of(configure({"SOLVER.SEED": seed})).augmented(
        RandomIdentitySampler(data.labels, 4, 2)
    )
    loader.batch_sampler.set_epoch(epoch)
    return [key.seed for key in next(iter(loader.batch_sampler))]


def test_seed_and_epoch_decide_the_augmentation(configure, images_of, data):
    drawn = [augmented_by(configure, images_of, data, *parts) for parts in ((1, 1), (2, 1), (1, 2))]
    assert augmented_by(configure, images_of, data, 1, 1) == drawn[0]
    assert len({seed for seeds in drawn for seed in seeds}) == 24


@pytest.mark.parametrize("skip", [True, False])
def test_broken_images(configure, images_of, data, tmp_path, skip):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    cfg = configure({"INPUT.ON_BAD_IMAGE": "skip" if skip else "error"})
    images = images_of(cfg)
    assert images.skip_bad_images == skip
    broken = Sample(str(bad), 1, 0)
    loader = build_evaluation_loader(cfg, [data.samples[0], broken, data.samples[1]])
    if not skip:
        with pytest.raises(BadImageError):
            list(loader)
        return
    (batch,) = loader
    assert batch.indices.tolist() == [0, 2]
    assert batch.bad_images == (str(bad),)


def test_workers(configure, images_of, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    monkeypatch.setattr(workers, "free_shared_memory", lambda: None)
    for wanted in (0, 3, 11):
        cfg = configure({"DATALOADER.NUM_WORKERS": wanted})
        assert images_of(cfg).loading == Loading(wanted, pin_memory=False)
        assert build_loading(cfg, pin_memory=True) == Loading(wanted, pin_memory=True)
    assert build_loading(configure({"DATALOADER.NUM_WORKERS": 11}), 4).num_workers == 4


@pytest.mark.parametrize(
    ("options", "images"),
    [
        ({"TEST.IMS_PER_BATCH": 10}, 10),
        ({"TEST.IMS_PER_BATCH": 4, "SOLVER.STAGE2.IMS_PER_BATCH": 6}, 6),
        ({"TEST.IMS_PER_BATCH": 4, "SOLVER.STAGE2.IMS_PER_BATCH": 6, "DSGL.ENABLED": True}, 12),
    ],
)
def test_shared_memory_is_counted_for_the_largest_batch(configure, monkeypatch, options, images):
    """Two batches per worker, and two in use."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    batch = images * 4 * 3 * 48 * 40
    cfg = configure(INPUT, {"DATALOADER.NUM_WORKERS": 7}, options)
    for free, expected in ((6 * batch, 2), (6 * batch - 1, 1), (16 * batch, 7)):
        monkeypatch.setattr(workers, "free_shared_memory", lambda free=free: free)
        assert build_loading(cfg).num_workers == expected


# ------------------------------------------------------------------------------------------- cache

ONE_EPOCH = {"SOLVER.STAGE2.MAX_EPOCHS": 1, "INPUT.CACHE": "auto"}
DEVICE = FreeMemory(100 * 2**30, 100 * 2**30)
BYTES = 56 * 64 * 32 * 3


@pytest.mark.parametrize(
    ("options", "free", "place"),
    [
        ({"INPUT.CACHE": "none"}, DEVICE, "none"),
        ({"INPUT.CACHE": "ram"}, DEVICE, "ram"),
        ({"INPUT.CACHE": "device"}, DEVICE, "device"),
        ({"INPUT.CACHE": "auto"}, DEVICE, "device"),
        ({"INPUT.CACHE": "auto"}, FreeMemory(2 * BYTES), "ram"),
        ({"INPUT.CACHE": "auto"}, FreeMemory(2 * BYTES - 1), "none"),
        ({"INPUT.CACHE": "auto", "INPUT.GRAYSCALE_PROB": 0.1}, DEVICE, "ram"),
        ({"INPUT.CACHE": "auto", "INPUT.JITTER_PROB": 0.1}, DEVICE, "ram"),
        ({"INPUT.CACHE": "auto", "INPUT.AUGMIX_PROB": 0.1}, DEVICE, "ram"),
        (ONE_EPOCH, DEVICE, "none"),
        ({**ONE_EPOCH, "SOLVER.STAGE2.MAX_EPOCHS": 2}, DEVICE, "device"),
        ({**ONE_EPOCH, "SOLVER.STAGE0.MAX_EPOCHS": 1}, DEVICE, "device"),
        (
            {**ONE_EPOCH, "SOLVER.STAGE0.MAX_EPOCHS": 1, "SOLVER.STAGE1.WEIGHT": "some.pth"},
            DEVICE,
            "none",
        ),
        # 56 images; 8 per batch, or 16 with partners.
        ({**ONE_EPOCH, "DSGL.ENABLED": True, "DSGL.ITERS": 3}, DEVICE, "none"),
        ({**ONE_EPOCH, "DSGL.ENABLED": True, "DSGL.ITERS": 4}, DEVICE, "device"),
        ({**ONE_EPOCH, "DSGL.ENABLED": True, "DSGL.ITERS": 4, "DSGL.W_KL": 0}, DEVICE, "none"),
        ({**ONE_EPOCH, "DSGL.ENABLED": True, "DSGL.ITERS": 4, "DSGL.MEMORY": "CM"}, DEVICE, "none"),
    ],
)
def test_place_of_the_images(configure, images_of, options, free, place):
    assert images_of(configure(options), free=free).store.place == place


GRAPH = {
    "INPUT.CACHE": "ram",
    "MODEL.TEXT_TOWER": False,
    "DATALOADER.SAMPLER": "dfgs_image",
    "SOLVER.STAGE2.MAX_EPOCHS": 6,
}
CLUSTERS = {"INPUT.CACHE": "ram", "DSGL.ENABLED": True, "SOLVER.STAGE2.MAX_EPOCHS": 6}


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        # A graph reads 14 of 56 images.
        (GRAPH, True),
        ({**GRAPH, "DATALOADER.SAMPLER": "softmax_triplet"}, False),
        ({**GRAPH, "SOLVER.STAGE2.MAX_EPOCHS": 4}, False),
        ({**GRAPH, "SOLVER.STAGE2.MAX_EPOCHS": 4, "MODEL.TEXT_TOWER": True}, True),
        (
            {
                **GRAPH,
                "SOLVER.STAGE2.MAX_EPOCHS": 4,
                "MODEL.TEXT_TOWER": True,
                "SOLVER.STAGE1.WEIGHT": "some.pth",
            },
            False,
        ),
        ({**GRAPH, "DATALOADER.DFGS.REFRESH_PERIOD": 2}, False),
        (
            {
                **GRAPH,
                "DATALOADER.DFGS.REFRESH_PERIOD": 2,
                "DATALOADER.DFGS.IMAGES_PER_ID": 2,
            },
            True,
        ),
        (CLUSTERS, True),
        ({**CLUSTERS, "DSGL.RECLUSTER_EVERY": 6}, False),
        ({**CLUSTERS, "DSGL.RECLUSTER_EVERY": 6, "INPUT.TEST_INTERPOLATION": "bicubic"}, True),
    ],
)
def test_images_without_augmentation_are_kept_when_they_are_read_often(
    configure, images_of, options, kept
):
    assert (images_of(configure(options)).store.evaluation is not None) == kept


def test_images_that_do_not_fit_are_refused(configure, images_of):
    with pytest.raises(ConfigError, match=r"INPUT\.CACHE: ram needs"):
        images_of(configure({"INPUT.CACHE": "ram"}), free=FreeMemory(BYTES - 1))


def test_images_from_ram_equal_those_from_files(configure, images_of, data):
    drawn = []
    for place in ("none", "ram"):
        images = images_of(configure(INPUT, {"INPUT.CACHE": place}))
        loader = images.augmented(RandomIdentitySampler(data.labels, 4, 2))
        drawn.append(torch.cat([batch.images for batch in loader]))
    assert drawn[0].shape[1:] == (3, 48, 40)
    assert torch.equal(*drawn)


@pytest.mark.parametrize("skip", [True, False])
def test_images_are_read_into_memory_by_workers(configure, images_of, monkeypatch, skip):
    given = []

    def read(dataset, size, device, *, num_workers, check):
        del check
        given.append((len(dataset), size, device.type, num_workers, dataset.skip_bad_images))
        raise InterruptedError

    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    monkeypatch.setattr(workers, "free_shared_memory", lambda: None)
    monkeypatch.setattr(images_build, "read_images", read)
    options = {"INPUT.CACHE": "ram", "DATALOADER.NUM_WORKERS": 5}
    bad = {"INPUT.ON_BAD_IMAGE": "skip" if skip else "error"}
    with pytest.raises(InterruptedError):
        images_of(configure(INPUT, options, bad)).store.for_training()
    assert given == [(56, (48, 40), "cpu", 5, skip)]

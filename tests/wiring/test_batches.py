"""From INPUT, DATALOADER, TEST and SOLVER to batches of images: workers, sizes, seeds, cache."""

import pytest
import torch

from config import ConfigError
from datasets.images import build as images_build
from datasets.images import workers
from datasets.images.build import build_evaluation_loader, build_loading
from datasets.images.dataset import Loading
from datasets.images.decode import BadImageError
from datasets.images.placement import FreeMemory
from datasets.records import Sample
from datasets.samplers import RandomIdentitySampler

SIZE = {"INPUT.SIZE_TRAIN": [48, 40], "INPUT.SIZE_TEST": [48, 40]}

# ----------------------------------------------------------------------------------------- workers


def test_workers(configure, images_of, monkeypatch):
    monkeypatch.setattr(workers, "available_cores", lambda: 16)
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
    monkeypatch.setattr(workers, "available_cores", lambda: 16)
    batch = images * 4 * 3 * 48 * 40
    cfg = configure(SIZE, {"DATALOADER.NUM_WORKERS": 7}, options)
    for free, expected in ((6 * batch, 2), (6 * batch - 1, 1), (16 * batch, 7)):
        monkeypatch.setattr(workers, "free_shared_memory", lambda free=free: free)
        assert build_loading(cfg).num_workers == expected


@pytest.mark.parametrize("skip", [True, False])
def test_images_are_read_into_memory_by_workers(configure, images_of, monkeypatch, skip):
    given = []

    def read(dataset, size, device, *, num_workers, check):
        del check
        given.append((len(dataset), size, device.type, num_workers, dataset.skip_bad_images))
        raise InterruptedError

    monkeypatch.setattr(workers, "available_cores", lambda: 16)
    monkeypatch.setattr(workers, "free_shared_memory", lambda: None)
    monkeypatch.setattr(images_build, "read_images", read)
    options = {"INPUT.CACHE": "ram", "DATALOADER.NUM_WORKERS": 5}
    bad = {"INPUT.ON_BAD_IMAGE": "skip" if skip else "error"}
    with pytest.raises(InterruptedError):
        images_of(configure(SIZE, options, bad)).store.for_training()
    assert given == [(56, (48, 40), "cpu", 5, skip)]


# ----------------------------------------------------------------------------------------- batches


def test_sizes_seed_and_batches(configure, images_of, data):
    cfg = configure(SIZE, {"TEST.IMS_PER_BATCH": 9, "SOLVER.SEED": 5})
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
        # Without labels, one pass over the clusters counts as reading every image once.
        ({**ONE_EPOCH, "DSGL.ENABLED": True, "DSGL.ITERS": 0}, DEVICE, "none"),
        (
            {**ONE_EPOCH, "DSGL.ENABLED": True, "DSGL.ITERS": 0, "SOLVER.STAGE2.MAX_EPOCHS": 2},
            DEVICE,
            "device",
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
        (
            {
                **GRAPH,
                "MODEL.TEXT_TOWER": True,
                "SOLVER.STAGE1.WEIGHT": "some.pth",
                "DATALOADER.DFGS.FEATURES": "both",
            },
            True,
        ),
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
        images = images_of(configure(SIZE, {"INPUT.CACHE": place}))
        loader = images.augmented(RandomIdentitySampler(data.labels, 4, 2))
        drawn.append(torch.cat([batch.images for batch in loader]))
    assert drawn[0].shape[1:] == (3, 48, 40)
    assert torch.equal(*drawn)

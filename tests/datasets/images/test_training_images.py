"""Training images: bit-identical from RAM and from files; the place follows from the options."""

import pytest
import torch
from torchvision.transforms import Resize

from config import ConfigError
from datasets.images import dataset
from datasets.images.placement import FreeMemory
from datasets.images.transforms import TRAINING_INTERPOLATION

GB = 2**30
PLENTY = FreeMemory(100 * GB)
COLOURS = ("INPUT.GRAYSCALE_PROB", "0.3", "INPUT.JITTER_PROB", "0.5", "INPUT.AUGMIX_PROB", "0.3")
SKIP = ("INPUT.ON_BAD_IMAGE", "skip")

BICUBIC = ("INPUT.TEST_INTERPOLATION", "bicubic")
GRAPH = ("DATALOADER.SAMPLER", "dfgs_image")
ONE_GRAPH_OF_ALL = (
    *("DATALOADER.DFGS.REFRESH_PERIOD", "100"),
    *("DATALOADER.DFGS.IMAGES_PER_ID", "99"),
)
BGR = ("INPUT.CHANNELS", "bgr", "INPUT.PIXEL_MEAN", "[0.1, 0.2, 0.3]")
BASELINE = ("MODEL.TEXT_TOWER", "False")
ALL_IMAGES = 32 * 64 * 32 * 3  # bytes


def epoch_of(loader, epoch=1, first_batch=0):
    loader.batch_sampler.set_epoch(epoch, first_batch)
    return list(loader)


@pytest.mark.parametrize("workers", ["0", "2"])
@pytest.mark.parametrize("opts", [(), COLOURS, ("INPUT.NORMALIZATION", "instance"), BGR])
def test_batches_from_ram_equal_those_from_files(
    data, loader_of, assert_same_batches, opts, workers
):
    files = loader_of(data, "none", *opts)
    ram = loader_of(data, "ram", *opts, "DATALOADER.NUM_WORKERS", workers)
    for epoch in (1, 2):
        assert_same_batches(epoch_of(files, epoch), epoch_of(ram, epoch))
    assert_same_batches(epoch_of(files, 2, 1), epoch_of(ram, 2, 1))


def test_images_in_ram_are_not_read_again(data, loader_of, monkeypatch):
    ram = loader_of(data, "ram")
    monkeypatch.setattr(dataset, "read_image", lambda path: pytest.fail(f"reads {path}"))
    assert not any(isinstance(step, Resize) for step in ram.dataset.transform.transforms)
    assert len(epoch_of(ram)) == 3


@pytest.mark.parametrize("workers", ["0", "2"])
def test_broken_files_are_skipped_alike_from_ram_and_files(
    damaged, broken, loader_of, assert_same_batches, workers
):
    opts = (*SKIP, "DATALOADER.NUM_WORKERS", workers)
    files, ram = (epoch_of(loader_of(damaged, place, *opts)) for place in ("none", "ram"))
    assert_same_batches(files, ram)
    bad = [path for batch in ram for path in batch.bad_images]
    assert set(bad) == {damaged.samples[place].path for place in broken}


@pytest.mark.parametrize("place", ["ram", "device"])
def test_broken_file_is_an_error_before_training(damaged, loader_of, place):
    with pytest.raises(RuntimeError, match=r"4\.png.*INPUT\.ON_BAD_IMAGE skip"):
        loader_of(damaged, place)


@pytest.mark.parametrize(
    ("opts", "free", "place", "keeps_plain"),
    [
        # CLIP-ReID: different interpolations; stage 1 reads every image once.
        ((), PLENTY, "ram", False),
        # CLIP-DFGS: equal interpolations.
        (BICUBIC, PLENTY, "ram", True),
        ((*BICUBIC, *BASELINE), PLENTY, "ram", False),
        ((*BICUBIC, "SOLVER.STAGE1.WEIGHT", "some.pth"), PLENTY, "ram", False),
        # An image graph reads a quarter of the images per epoch.
        (GRAPH, PLENTY, "ram", True),
        ((*GRAPH, *BASELINE, "SOLVER.STAGE2.MAX_EPOCHS", "4"), PLENTY, "ram", False),
        ((*GRAPH, *BASELINE, "SOLVER.STAGE2.MAX_EPOCHS", "5"), PLENTY, "ram", True),
        ((*GRAPH, *BASELINE, "DATALOADER.DFGS.REFRESH_PERIOD", "25"), PLENTY, "ram", False),
        ((*GRAPH, *BASELINE, *ONE_GRAPH_OF_ALL), PLENTY, "ram", False),
        # Memory for one cache or two.
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
def test_place_follows_from_options_and_memory(data, images_of, opts, free, place, keeps_plain):
    store = images_of(data, *opts, free=free).store
    assert store.place == place
    assert store.training == TRAINING_INTERPOLATION
    assert (store.evaluation is not None) == keeps_plain


def test_summary_for_the_log(data, images_of):
    assert images_of(data).summary == "training images (0.000183 GB): kept in RAM; 100 GB are free"


@pytest.mark.parametrize("place", ["ram", "device"])
def test_images_that_do_not_fit_are_a_config_error(data, images_of, place):
    with pytest.raises(ConfigError, match=r"INPUT\.CACHE: .* needs 0\.000183 GB for 32 training"):
        images_of(data, "INPUT.CACHE", place, free=FreeMemory(ALL_IMAGES - 1))
    images = images_of(data, "INPUT.CACHE", place, free=FreeMemory(ALL_IMAGES))
    assert images.store.place == place


@pytest.mark.parametrize("workers", ["0", "2"])
@pytest.mark.parametrize(
    "opts", [GRAPH, BICUBIC, (*BICUBIC, "INPUT.NORMALIZATION", "instance"), (*GRAPH, *BGR)]
)
@pytest.mark.parametrize("place", ["ram", "device"])
def test_images_without_augmentation_equal_their_files(
    damaged, broken, images_of, assert_same_batches, place, opts, workers
):
    positions = [*range(31, 0, -2), 4, 10]

    def batches_from(place):
        workers_of = ("DATALOADER.NUM_WORKERS", workers)
        images = images_of(damaged, *opts, *SKIP, *workers_of, "INPUT.CACHE", place)
        assert (images.store.evaluation is None) == (place == "none")
        return list(images.plain(positions))

    batches = batches_from(place)
    assert_same_batches(batches_from("none"), batches)
    indices = torch.cat([batch.indices for batch in batches]).tolist()
    assert [positions[i] for i in indices] == [i for i in positions if i not in broken]
    labels = torch.cat([batch.labels for batch in batches]).tolist()
    assert labels == [damaged.labels[positions[i]] for i in indices]


@pytest.mark.parametrize("workers", ["0", "2"])
def test_loading_draws_no_random_numbers_of_training(data, loader_of, workers):
    """Dropout is then the same with any number of workers, and in a resumed run."""
    loader = loader_of(data, "none", "DATALOADER.NUM_WORKERS", workers)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    for epoch in (1, 2):
        epoch_of(loader, epoch)
    assert torch.equal(torch.get_rng_state(), before)

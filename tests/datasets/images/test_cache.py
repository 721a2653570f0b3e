"""Cached images: equal to their files, read once, shared with worker processes."""

import numpy as np
import pytest
import torch
import torch.multiprocessing
from PIL import ExifTags, Image
from torchvision.transforms import Compose, InterpolationMode

from datasets.images import cache as cache_module
from datasets.images.cache import (
    CachedImages,
    ImageCache,
    ImageStore,
    read_images,
    shared_levels,
    to_levels,
)
from datasets.images.dataset import ImageDataset
from datasets.images.decode import BadImageError
from datasets.images.transforms import resize
from datasets.records import Sample

CPU = torch.device("cpu")
SIZE = (32, 16)
BICUBIC, BILINEAR = InterpolationMode.BICUBIC, InterpolationMode.BILINEAR
GOOD = [f"{number:02d}.png" for number in range(40)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Forty images of random pixels and sizes, and a broken file."""
    path = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for name in GOOD:
        height, width = rng.integers(10, 50, 2)
        pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
        Image.fromarray(pixels).save(path / name)
    (path / "broken.png").write_text("nothing")
    return path


def dataset_of(folder, names, interpolation=BICUBIC, **options):
    samples = [Sample(str(folder / name), 0, 0) for name in names]
    transform = Compose([resize(SIZE, interpolation), to_levels])
    return ImageDataset(samples, [0] * len(samples), transform, **options)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("interpolation", [BICUBIC, BILINEAR])
def test_cache_holds_the_resized_files(folder, workers, interpolation):
    dataset = dataset_of(folder, GOOD, interpolation)
    cache = read_images(dataset, SIZE, CPU, num_workers=workers)
    assert (cache.images.shape, cache.images.dtype) == ((40, *SIZE, 3), torch.uint8)
    assert cache.readable.all()
    for position, name in enumerate(GOOD):
        image = resize(SIZE, interpolation)(Image.open(folder / name))
        assert np.array_equal(cache.images[position].numpy(), np.asarray(image))
        assert cache.image(position).tobytes() == image.tobytes()
        assert (cache.image(position).mode, cache.image(position).size) == ("RGB", (16, 32))


def test_broken_file_is_an_error_that_names_it(folder):
    with pytest.raises(BadImageError, match=r"broken\.png.*INPUT\.ON_BAD_IMAGE skip"):
        read_images(dataset_of(folder, [*GOOD[:20], "broken.png"]), SIZE, CPU)


def test_broken_files_are_left_out_on_request(folder):
    names = ["broken.png"] * 16  # a whole batch of the reader
    names += [GOOD[0], "broken.png", GOOD[1]]
    cache = read_images(dataset_of(folder, names, skip_bad_images=True), SIZE, CPU)
    assert cache.readable.nonzero()[:, 0].tolist() == [16, 18]
    whole = read_images(dataset_of(folder, GOOD[:2]), SIZE, CPU)
    assert torch.equal(cache.images[[16, 18]], whole.images)
    with pytest.raises(BadImageError):
        cache.image(17)


def test_cached_images_select_positions(folder):
    cache = read_images(dataset_of(folder, GOOD[:6]), SIZE, CPU)
    some = CachedImages(cache, [5, 2])
    assert [some(i).tobytes() for i in (0, 1)] == [cache.image(i).tobytes() for i in (5, 2)]


def test_global_generator_is_not_used(folder):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    read_images(dataset_of(folder, GOOD), SIZE, CPU)
    assert torch.equal(torch.get_rng_state(), before)


def test_reading_can_be_stopped(folder):
    calls = []

    def stop_at_the_second():
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read_images(dataset_of(folder, GOOD), SIZE, CPU, check=stop_at_the_second)
    assert len(calls) == 2


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_memory_is_shared_with_other_processes(monkeypatch, method):
    """Writes of another process are visible here: neither has a copy."""
    monkeypatch.setattr(cache_module, "forks", lambda: method == "fork")
    levels = shared_levels((3, 4, 2, 3))
    assert levels.eq(0).all()
    assert levels.is_shared() == (method == "spawn")  # else in no shared-memory file
    process = torch.multiprocessing.get_context(method).Process(
        target=torch.Tensor.fill_, args=(levels, 7)
    )
    process.start()
    process.join()
    assert process.exitcode == 0
    assert levels.eq(7).all()


class Reader:
    """Makes caches whose pixels tell their interpolation; records the calls."""

    def __init__(self):
        self.calls = []

    def __call__(self, interpolation, device):
        self.calls.append((interpolation, device.type))
        level = {BICUBIC: 1, BILINEAR: 2}[interpolation]
        images = torch.full((2, 4, 2, 3), level, dtype=torch.uint8, device=device)
        return ImageCache(images, torch.ones(2, dtype=torch.bool))


def store_of(place, evaluation, device="cpu"):
    reader = Reader()
    return reader, ImageStore(reader, place, torch.device(device), BICUBIC, evaluation, "")


def test_nothing_is_read_before_it_is_needed():
    assert store_of("ram", BILINEAR)[0].calls == []


def test_files_need_no_cache():
    reader, images = store_of("none", None)
    assert images.for_training() is images.for_evaluation() is None
    assert reader.calls == []


def test_every_interpolation_is_read_once():
    reader, images = store_of("ram", BILINEAR)
    for _ in range(2):
        assert images.for_evaluation().images.unique().tolist() == [2]
        assert images.for_training().images.unique().tolist() == [1]
    assert reader.calls == [(BILINEAR, "cpu"), (BICUBIC, "cpu")]


def test_equal_interpolations_share_a_cache():
    reader, images = store_of("ram", BICUBIC)
    assert images.for_training() is images.for_evaluation()
    assert reader.calls == [(BICUBIC, "cpu")]


def test_device_cache_is_filled_once_and_directly():
    reader, images = store_of("device", None, "meta")
    assert images.for_training() is images.for_training()
    assert images.for_training().images.is_meta
    assert images.for_evaluation() is None
    assert reader.calls == [(BICUBIC, "meta")]


def test_device_cache_is_copied_from_ram_if_interpolations_are_equal():
    reader, images = store_of("device", BICUBIC, "meta")
    assert images.for_training().images.is_meta
    assert images.for_evaluation().images.unique().tolist() == [1]
    assert reader.calls == [(BICUBIC, "cpu")]


@pytest.mark.parametrize("workers", [0, 2])
def test_cache_holds_sideways_photos_upright(folder, tmp_path, workers):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    with Image.open(folder / GOOD[0]) as image:
        image.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "phone.png", exif=exif)
    upright = read_images(dataset_of(folder, GOOD[:1]), SIZE, CPU)
    turned = read_images(dataset_of(tmp_path, ["phone.png"]), SIZE, CPU, num_workers=workers)
    assert torch.equal(turned.images, upright.images)

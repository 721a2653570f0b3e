"""Features of many images: order, precision, broken files."""

import pytest
import torch

from datasets.records import Batch
from processor.features import extract_features, ids_of_model
from processor.runtime.precision import Precision
from processor.runtime.signals import Interrupted, StopRequest

CPU = torch.device("cpu")


def batches(*sizes, bad=()):
    """Batches of constant images: image i is i everywhere."""
    result, start = [], 0
    for number, size in enumerate(sizes):
        indices = torch.arange(start, start + size)
        images = indices.float().view(-1, 1, 1, 1).expand(size, 3, 2, 2)
        result.append(
            Batch(images, indices, indices, indices, indices, tuple(bad) if number == 0 else ())
        )
        start += size
    return result


def loader(*sizes, bad=()):
    """The factory of loaders for a range of images, and the number of images."""
    return lambda _: batches(*sizes, bad=bad), sum(sizes)


def mean(batch):
    return batch.images.mean((2, 3))


def test_features_are_in_the_order_of_the_images(float32):
    table = extract_features(mean, *loader(3, 3, 1), float32, title="test")
    assert table.indices.tolist() == list(range(7))
    assert table.features[:, 0].tolist() == list(range(7))
    assert table.features.shape == (7, 3)


def test_no_gradient_is_kept(float32):
    weight = torch.ones(1, requires_grad=True)
    table = extract_features(lambda b: weight * mean(b), *loader(2), float32, title="test")
    assert not table.features.requires_grad


def test_features_are_float32_for_any_encoder_dtype():
    layer = torch.nn.Linear(3, 2)
    seen = []

    def encode(batch):
        seen.append(layer(mean(batch)))
        return seen[-1]

    table = extract_features(encode, *loader(2), Precision(torch.bfloat16, CPU), title="test")
    assert seen[0].dtype == torch.bfloat16
    assert table.features.dtype == torch.float32


def test_broken_files_are_counted_and_empty_batches_skipped(float32, caplog):
    table = extract_features(mean, *loader(0, 2, bad=["a.jpg", "b.jpg"]), float32, title="gallery")
    assert table.indices.tolist() == [0, 1]
    assert "gallery: skipped the broken image a.jpg" in caplog.text
    assert "gallery: 2 broken images skipped" in caplog.text


def test_no_readable_image_is_an_error(float32):
    with pytest.raises(ValueError, match="gallery: no image could be read"):
        extract_features(mean, *loader(0, bad=["a.jpg"]), float32, title="gallery")


def test_stop_request_interrupts_the_extraction(float32):
    stop = StopRequest()
    stop.requested = True
    with pytest.raises(Interrupted):
        extract_features(mean, *loader(2), float32, title="test", stop=stop)


@pytest.mark.parametrize("num_images", [0, 3, 7, 12])
def test_wrong_number_of_images_still_gives_all_rows(float32, num_images):
    """Skipped broken images make the number too large."""
    make, _ = loader(3, 3, 1)
    table = extract_features(mean, make, num_images, float32, title="test")
    assert table.indices.tolist() == list(range(7))
    assert table.features.tolist() == [[i] * 3 for i in range(7)]


def test_memory_for_rows_is_allocated_once(float32):
    """Batch after batch goes into the same memory."""
    table = extract_features(mean, *loader(3, 3, 1), float32, title="test")
    assert table.features.untyped_storage().nbytes() == 7 * 3 * 4


def test_encoder_may_refuse_the_width_before_the_second_batch(float32):
    seen = []

    def encode(batch):
        features = mean(batch)
        seen.append(features.shape[1])
        raise MemoryError(f"{features.shape[1]} are too many")

    with pytest.raises(MemoryError, match="3 are too many"):
        extract_features(encode, *loader(2, 2), float32, title="test")
    assert seen == [3]


def test_camera_unseen_in_training_is_unknown():
    """It would otherwise take the embedding of the next source's first camera."""
    camids, views = torch.tensor([0, 3, 4, -1]), torch.tensor([0, 1, 2, 3])
    cameras, viewids = ids_of_model(camids, views, range(6, 10))
    assert cameras.tolist() == [6, 9, -1, -1]
    assert viewids.tolist() == [0, 1, 2, 3]


def test_cameras_of_an_untrained_data_set_are_unknown():
    ids = ids_of_model(torch.tensor([0, 1]), torch.tensor([1, 0]), None)
    assert [values.tolist() for values in ids] == [[-1, -1], [-1, -1]]

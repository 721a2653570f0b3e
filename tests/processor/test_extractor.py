"""The extractor computes features of any images from a checkpoint alone."""

import io
import itertools
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import ExifTags, Image

from config import dump_cfg, load_cfg
from datasets.images.decode import BadImageError
from model import build_model
from processor.checkpoints.save import save_checkpoint
from processor.extractor import Extractor

SIZES = {"num_classes": 3, "num_cameras": 4, "num_views": 1}
HEIGHT, WIDTH = 32, 16


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory, tiny_opts):
    """A model with camera embeddings for images of 32x16, trained on `shop` (cameras 1 to 3)."""
    opts = [
        *(*tiny_opts, "INPUT.SIZE_TRAIN", f"[{HEIGHT}, {WIDTH}]"),
        *("INPUT.SIZE_TEST", f"[{HEIGHT}, {WIDTH}]", "MODEL.SIE_CAMERA", "True"),
        *("INPUT.PIXEL_MEAN", "[0.4, 0.5, 0.6]", "SOLVER.AMP", "bf16"),
    ]
    cfg = load_cfg(None, opts)
    torch.manual_seed(0)
    model = build_model(cfg, *SIZES.values())
    torch.nn.init.normal_(model.cv_embed)
    path = tmp_path_factory.mktemp("checkpoint") / "last.pth"
    save_checkpoint(path, model, dump_cfg(cfg), {**SIZES, "cameras": json.dumps({"shop": [1, 4]})})
    return path


@pytest.fixture(scope="module")
def extractor(checkpoint):
    return Extractor(checkpoint, "cpu")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Seventy images of noise in different sizes."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    paths = []
    for number in range(70):
        coarse = rng.integers(0, 256, (4, 3, 3), np.uint8)
        image = Image.fromarray(coarse).resize((12 + number % 9, 30 + number % 7))
        paths.append(folder / f"{number:02d}.png")
        image.save(paths[-1])
    return paths


@pytest.fixture(scope="module")
def features(extractor, files):
    return extractor(files)


def arrays_of(files):
    return [np.array(Image.open(path)) for path in files]


def tensors_of(files):
    return [torch.from_numpy(array).permute(2, 0, 1) for array in arrays_of(files)]


# ---------------------------------------------------------------------------------------- features


def test_features_equal_a_written_out_pipeline(extractor, features, files):
    """Bilinear resize, 0..1, mean and deviation, the mean camera, rows of length 1."""
    mean = torch.tensor([0.4, 0.5, 0.6]).view(3, 1, 1)
    images = []
    for path in files[:5]:
        resized = Image.open(path).resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)
        images.append((torch.from_numpy(np.array(resized)).permute(2, 0, 1) / 255 - mean) / 0.5)
    with torch.no_grad():
        embedded = extractor.model.embed(torch.stack(images), torch.full((5,), -1))
    expected = F.normalize(embedded, dim=1)
    torch.testing.assert_close(features[:5], expected, atol=1e-5, rtol=0)
    assert features.shape == (70, extractor.dim)
    assert features.dtype == torch.float32
    assert not features.requires_grad
    assert (features[:5] @ features[5:10].T).max() < 0.999  # different images differ


def test_features_are_independent_of_batch_size(checkpoint, features, files):
    one = Extractor(checkpoint, "cpu", batch_size=1)
    torch.testing.assert_close(one(files), features, atol=1e-5, rtol=0)


def test_features_are_independent_of_the_kind_of_image(extractor, features, files):
    arrays, tensors = arrays_of(files), tensors_of(files)
    kinds = [
        [str(path) for path in files],
        [path.read_bytes() for path in files],
        [io.BytesIO(path.read_bytes()) for path in files],
        [Image.open(path) for path in files],
        arrays,
        tensors,
        [tensor / 255 for tensor in tensors],
        [kinds[i % 3][i] for kinds in [(files, arrays, tensors)] for i in range(len(files))],
    ]
    for images in kinds:
        torch.testing.assert_close(extractor(images), features, atol=1e-5, rtol=0)


def test_features_are_independent_of_workers(checkpoint, features, files):
    workers = Extractor(checkpoint, "cpu", num_workers=2, batch_size=16)
    torch.testing.assert_close(workers(files), features, atol=1e-5, rtol=0)


def test_single_image_batch_and_empty_list(extractor, features, files):
    same_size = torch.stack(
        [F.interpolate(t[None] / 255, (9, 7))[0] for t in tensors_of(files[:3])]
    )
    content = files[0].read_bytes()
    kinds = (files[0], str(files[0]), content, io.BytesIO(content), Image.open(files[0]))
    for one in (*kinds, arrays_of(files[:1])[0]):
        torch.testing.assert_close(extractor(one), features[:1], atol=1e-5, rtol=0)
    torch.testing.assert_close(extractor(same_size), extractor(list(same_size)))
    assert extractor([]).shape == (0, extractor.dim)


def test_length_is_kept_without_normalization(checkpoint, features, files):
    raw = Extractor(checkpoint, "cpu", normalize=False)(files[:4])
    assert (raw.norm(dim=1) - 1).abs().min() > 0.1
    torch.testing.assert_close(F.normalize(raw, dim=1), features[:4], atol=1e-5, rtol=0)


def test_bgr_arrays_are_converted(checkpoint, features, files):
    bgr = Extractor(checkpoint, "cpu", channels="bgr")
    turned = [array[:, :, ::-1] for array in arrays_of(files[:4])]
    torch.testing.assert_close(bgr(turned), features[:4], atol=1e-5, rtol=0)
    torch.testing.assert_close(bgr(files[:4]), features[:4], atol=1e-5, rtol=0)


def test_amp_uses_the_checkpoints_precision(checkpoint, extractor, features, files):
    mixed = Extractor(checkpoint, "cpu", amp=True)
    assert (extractor.precision.dtype, mixed.precision.dtype) == (None, torch.bfloat16)
    found = mixed(files[:4])
    assert found.dtype == torch.float32
    assert not torch.equal(found, features[:4])
    assert (found * features[:4]).sum(dim=1).min() > 0.999


def test_options_override_the_checkpoint(checkpoint, files):
    after = Extractor(checkpoint, "cpu", opts=["TEST.NECK_FEAT", "after"])
    assert after.cfg.TEST.NECK_FEAT == "after"
    with torch.no_grad():
        after.model.bottleneck.running_mean += 1
    raw = Extractor(checkpoint, "cpu")
    assert not torch.allclose(after(files[:2]), raw(files[:2]), atol=1e-3)


# ----------------------------------------------------------------------------------- cameras


def test_unknown_cameras_get_the_mean_embedding(extractor, features, files):
    """`cameras` gives the first row of a data set in the table."""
    assert extractor.cameras == {"shop": range(1, 4)}
    row = extractor.cameras["shop"].start + 2
    known = extractor(files[:4], camids=torch.tensor([row, -1, row, 99]))
    torch.testing.assert_close(known[[1, 3]], features[[1, 3]], atol=1e-5, rtol=0)
    assert (known[[0, 2]] - features[[0, 2]]).abs().max() > 1e-3
    with torch.no_grad():
        table = extractor.model.cv_embed
        table[row] = table[[0, 1, 2]].mean(0)  # now the mean of four rows equals that of three
        again = extractor(files[:1], camids=[row])
        torch.testing.assert_close(again, extractor(files[:1]), atol=1e-5, rtol=0)


def test_camera_count_must_equal_image_count(extractor, files):
    with pytest.raises(ValueError, match="camids: 2 numbers for 3 images"):
        extractor(files[:3], camids=[0, 1])
    with pytest.raises(ValueError, match="viewids: 0 numbers for 1 images"):
        list(extractor.stream((path for path in files[:65]), viewids=range(64)))


def test_cameras_stay_with_images_from_a_generator(checkpoint, files):
    small = Extractor(checkpoint, "cpu", batch_size=2)
    camids = [0, 3, -1, 2, 1]
    tables = list(small.stream(iter(files[:5]), iter(camids)))
    assert [table.indices.tolist() for table in tables] == [[0, 1], [2, 3], [4]]
    found = torch.cat([table.features for table in tables])
    torch.testing.assert_close(found, small(files[:5], camids), atol=1e-5, rtol=0)


# ----------------------------------------------------------------------------- many and broken


def test_generator_is_consumed_one_batch_at_a_time(checkpoint, files):
    small = Extractor(checkpoint, "cpu", batch_size=4)
    taken = []
    endless = (taken.append(number) or files[number % 70] for number in itertools.count())
    for number, table in enumerate(small.stream(endless)):
        assert len(taken) == 4 * (number + 1)
        assert table.indices.tolist() == list(range(4 * number, 4 * number + 4))
        if number == 2:
            break


@pytest.fixture
def with_broken(files, tmp_path):
    """The images, number 33 replaced by a text file."""
    (tmp_path / "broken.jpg").write_text("not an image")
    return [*files[:33], tmp_path / "broken.jpg", *files[34:]]


@pytest.mark.parametrize("workers", [0, 2])
def test_broken_file_is_named(checkpoint, with_broken, workers):
    extractor = Extractor(checkpoint, "cpu", num_workers=workers)
    with pytest.raises(BadImageError, match=r"^cannot decode the image .*broken\.jpg") as error:
        extractor(with_broken)
    assert "Traceback" not in str(error.value)


@pytest.mark.parametrize("lazily", [False, True])
def test_broken_file_is_skipped_on_request(checkpoint, features, with_broken, lazily):
    extractor = Extractor(checkpoint, "cpu", batch_size=16)
    images = (path for path in with_broken) if lazily else with_broken
    tables = list(extractor.stream(images, on_bad_image="skip"))
    indices = torch.cat([table.indices for table in tables])
    assert indices.tolist() == [i for i in range(70) if i != 33]
    found = torch.cat([table.features for table in tables])
    torch.testing.assert_close(found, features[indices], atol=1e-5, rtol=0)
    assert [name for table in tables for name in table.bad_images] == [str(with_broken[33])]


def test_batch_of_broken_files_yields_no_rows(checkpoint, with_broken):
    one = Extractor(checkpoint, "cpu", batch_size=1)
    first, second = one.stream(with_broken[33:35], on_bad_image="skip")
    assert (len(first.features), first.bad_images) == (0, (str(with_broken[33]),))
    assert second.indices.tolist() == [1]


def test_wrong_image_is_named_by_its_position(checkpoint, files):
    small = Extractor(checkpoint, "cpu", batch_size=2)
    wrong = [*files[:5], np.zeros((8, 4, 3)), *files[5:8]]
    for images in (wrong, iter(wrong)):
        with pytest.raises(ValueError, match=r"^images\[5\]: float64 \(8, 4, 3\); an array must"):
            list(small.stream(images))


# -------------------------------------------------------------------------------- wrong options


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"batch_size": 0}, "batch_size: expected at least 1, got 0"),
        ({"device": "gpu"}, "MODEL.DEVICE gpu: expected one of auto, cpu, cuda, mps"),
        ({"channels": "brg"}, "channels: 'brg'; known: rgb, bgr"),
        ({"device": "cuda:99"}, "DEVICE"),
        ({"opts": ["INPUT.SIZE"]}, "pairs KEY VALUE"),
    ],
)
def test_wrong_option_is_named(checkpoint, options, named):
    with pytest.raises(ValueError, match=named):
        Extractor(checkpoint, **options)


def test_unknown_way_with_bad_images_is_refused(extractor, files):
    with pytest.raises(ValueError, match="on_bad_image: 'ignore'; known: error, skip"):
        next(extractor.stream(files, on_bad_image="ignore"))


def test_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no weights file .*gone\.pth"):
        Extractor(tmp_path / "gone.pth")


def test_crops_are_the_features_of_the_boxes(extractor):
    frame = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    found = extractor.crops(frame, [[10, 5, 30, 55], [-3, 20, 12.5, 70]])
    assert torch.equal(found, extractor([frame[5:55, 10:30], frame[20:60, 0:13]]))
    assert extractor.crops(frame, []).shape == (0, extractor.dim)
    with pytest.raises(ValueError, match=r"boxes\[0\]: .* has no pixel"):
        extractor.crops(frame, [[90, 0, 99, 9]])
    with pytest.raises(ValueError, match=r"images\[0\]: float32"):
        extractor.crops(frame.astype(np.float32), [[0, 0, 9, 9]])


@pytest.mark.parametrize("channels", ["rgb", "bgr"])
def test_crops_are_the_features_of_the_same_files(checkpoint, tmp_path, channels):
    """For every number of threads and batches, with both kinds of normalization."""
    frame = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    boxes = [[left, left, left + 20 + left % 7, left + 40] for left in range(0, 50, 5)]
    files = [tmp_path / f"{number}.png" for number in range(len(boxes))]
    for (left, top, right, bottom), file in zip(boxes, files, strict=True):
        Image.fromarray(frame[top:bottom, left:right]).save(file)
    given = frame if channels == "rgb" else np.ascontiguousarray(frame[:, :, ::-1])
    threads = torch.get_num_threads()
    try:
        for count, kind in itertools.product((1, 2, 16), ("fixed", "instance")):
            torch.set_num_threads(count)
            opts = ["INPUT.NORMALIZATION", kind]
            extractor = Extractor(checkpoint, "cpu", batch_size=4, channels=channels, opts=opts)
            assert torch.equal(extractor.crops(given, boxes), extractor(files))
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("opts", [{"TEST.NECK_FEAT": "after"}, {"TEST": {"NECK_FEAT": "after"}}])
def test_options_may_be_a_dict(checkpoint, files, opts):
    expected = Extractor(checkpoint, "cpu", opts=["TEST.NECK_FEAT", "after"])
    found = Extractor(checkpoint, "cpu", opts=opts)
    assert found.cfg.TEST.NECK_FEAT == "after"
    torch.testing.assert_close(found(files[:1]), expected(files[:1]))


def test_sideways_photo_has_the_features_of_the_upright_one(extractor, files, tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 8
    with Image.open(files[0]) as upright:
        sideways = upright.transpose(Image.Transpose.ROTATE_270)
    sideways.save(tmp_path / "phone.png", exif=exif)
    kinds = [tmp_path / "phone.png", (tmp_path / "phone.png").read_bytes()]
    features = extractor([files[0], *kinds, Image.open(tmp_path / "phone.png"), sideways])
    for same in features[1:4]:
        assert torch.equal(same, features[0])
    assert not torch.equal(features[4], features[0])  # no tag, so it stays as it is

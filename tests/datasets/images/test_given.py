"""Images of every kind become the same RGB image; errors name the position."""

import io

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image

from datasets.images.decode import BadImageError
from datasets.images.given import GivenImages

PIXELS = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3) * 13
GREY = PIXELS[:, :, 0]
OPAQUE = np.dstack([PIXELS, np.full((2, 3), 255, np.uint8)])


def pixels_of(image, channels="rgb"):
    given = GivenImages([image], channels)
    given.check()
    decoded = given(0)
    assert decoded.mode == "RGB"
    return np.asarray(decoded).tolist()


def chw(pixels):
    return torch.from_numpy(pixels).permute(2, 0, 1)


def test_every_kind_has_the_same_pixels(tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "file.png")
    kinds = [
        *(tmp_path / "file.png", str(tmp_path / "file.png"), Image.open(tmp_path / "file.png")),
        *(Image.fromarray(PIXELS), PIXELS, PIXELS[::-1][::-1], chw(PIXELS), chw(PIXELS) / 255),
        *(chw(PIXELS).double() / 255, OPAQUE, Image.fromarray(OPAQUE), chw(OPAQUE)),
    ]
    for kind in kinds:
        assert pixels_of(kind) == PIXELS.tolist()


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_content_of_a_file_is_decoded_like_the_file(tmp_path, suffix):
    file = tmp_path / f"file.{suffix}"
    Image.fromarray(PIXELS).save(file)
    opened = io.BytesIO(file.read_bytes())
    opened.seek(3)  # where a reader stopped
    for kind in (file.read_bytes(), opened, opened):
        assert pixels_of(kind) == pixels_of(file)


def test_broken_content_is_named_by_position_with_the_remedy():
    given = GivenImages([b"no image"], first=7)
    given.check()
    with pytest.raises(BadImageError, match=r"cannot decode the image images\[7\] .*on_bad_image"):
        given(0)


def test_gray_is_repeated_in_all_channels():
    expected = np.dstack([GREY] * 3).tolist()
    for kind in (GREY, GREY[:, :, None], Image.fromarray(GREY), chw(GREY[:, :, None])):
        assert pixels_of(kind) == expected
        assert pixels_of(kind, "bgr") == expected


def test_bgr_arrays_and_tensors_become_rgb(tmp_path):
    bgr, opaque = PIXELS[:, :, ::-1], OPAQUE[:, :, [2, 1, 0, 3]]
    for kind in (bgr, opaque, chw(bgr.copy()), chw(opaque) / 255):
        assert pixels_of(kind, "bgr") == PIXELS.tolist()
        assert pixels_of(kind, "rgb") == bgr.tolist()
    Image.fromarray(PIXELS).save(tmp_path / "file.png")
    for kind in (tmp_path / "file.png", Image.fromarray(PIXELS)):  # their order is known
        assert pixels_of(kind, "bgr") == PIXELS.tolist()


def test_transparency_counts_alike_in_every_kind(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (2, 3, 3), np.uint8)
    opacity = np.array([[0, 0, 255], [0, 128, 255]], np.uint8)
    cut_out = np.dstack([noise, opacity])
    Image.fromarray(cut_out).save(tmp_path / "file.png")
    content = (tmp_path / "file.png").read_bytes()
    kinds = [tmp_path / "file.png", content, Image.fromarray(cut_out), cut_out, chw(cut_out)]
    expected = pixels_of(tmp_path / "file.png")
    assert expected[0][:2] == [[255, 255, 255]] * 2
    assert expected[0][2] == noise[0, 2].tolist()
    assert expected[1][1] == [round(255 + (int(x) - 255) * 128 / 255) for x in noise[1, 1]]
    for kind in (*kinds, chw(cut_out).float() / 255):
        assert pixels_of(kind) == expected
    for kind in (cut_out[:, :, [2, 1, 0, 3]], chw(cut_out[:, :, [2, 1, 0, 3]])):
        assert pixels_of(kind, "bgr") == expected


def test_sideways_photo_is_upright_as_file_content_and_pil_image(tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    file = tmp_path / "phone.png"
    Image.fromarray(np.rot90(PIXELS)).save(file, exif=exif)
    content = file.read_bytes()
    for kind in (file, content, io.BytesIO(content), Image.open(file)):
        assert pixels_of(kind) == PIXELS.tolist()
    given = Image.open(file)
    given.load()
    assert pixels_of(given.copy()) == pixels_of(given) == PIXELS.tolist()
    assert given.size == (2, 3)  # the caller's image is as it was


def test_floats_are_rounded_to_the_nearest_level():
    values = torch.tensor([0.0, 1.0, 0.5, 1.4 / 255, 1.6 / 255]).expand(3, 1, 5)
    assert [rgb[0] for rgb in pixels_of(values)[0]] == [0, 255, 128, 1, 2]


@pytest.mark.parametrize(
    ("image", "named"),
    [
        (None, "expected a path, a file's bytes, a PIL image, an array or a tensor, got NoneType"),
        (PIXELS.tolist(), "got list"),
        (PIXELS.astype(np.float32), r"float32 \(2, 3, 3\); an array must be uint8"),
        (
            PIXELS[:, :2].transpose(2, 0, 1),
            r"uint8 \(3, 2, 2\); an array .* shape \(H, W, 3\)",
        ),
        (PIXELS[:, :, :2], r"uint8 \(2, 3, 2\)"),
        (PIXELS[None], r"uint8 \(1, 2, 3, 3\)"),
        (PIXELS[:0], r"uint8 \(0, 3, 3\)"),
        (torch.from_numpy(PIXELS[:, :2]), r"torch.uint8 \(2, 2, 3\); a tensor must be uint8, or"),
        (chw(PIXELS).long(), r"torch.int64 \(3, 2, 3\)"),
        (chw(PIXELS).float(), "values from 0 to 221; a tensor must be uint8, or float in 0..1"),
        (chw(PIXELS) / 255 - 0.5, "values from -0.5 to"),
        (torch.full((3, 2, 2), torch.nan), "values from nan to nan"),
    ],
)
def test_values_that_are_not_images_are_named_by_position(image, named):
    with pytest.raises(ValueError, match=rf"^images\[7\]: .*{named}"):
        GivenImages([PIXELS, image], first=6).check()


def test_broken_images_are_named(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "whole.jpg")
    broken = tmp_path / "broken.jpg"
    broken.write_bytes((tmp_path / "whole.jpg").read_bytes()[:900])
    with pytest.raises(BadImageError, match=r"broken\.jpg .*; .* set INPUT.ON_BAD_IMAGE skip"):
        GivenImages([broken])(0)
    with pytest.raises(BadImageError, match=r"cannot decode images\[4\] \("):
        GivenImages([Image.open(broken)], first=4)(0)
    assert GivenImages([broken, PIXELS], first=4).name(0) == str(broken)
    assert GivenImages([broken, PIXELS], first=4).name(1) == "images[5]"

"""Every kind of image file becomes the RGB image that viewers show, or a named error."""

import errno
import os
import random
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from datasets.images.decode import BACKGROUND, BadImageError, read_image, to_rgb

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 4, 3), np.uint8)

# EXIF orientation -> how the upright pixels lie in the file (TIFF 6.0, tag 274).
STORED = {
    1: lambda pixels: pixels,
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.transpose(1, 0, 2),
    6: lambda pixels: np.rot90(pixels),
    7: lambda pixels: pixels[::-1, ::-1].transpose(1, 0, 2),
    8: lambda pixels: np.rot90(pixels, -1),
}


def save(pixels, file, orientation=None, **options):
    if orientation is not None:
        options["exif"] = Image.Exif()
        options["exif"][ExifTags.Base.Orientation] = orientation
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels.copy())
    image.save(file, **options)
    return str(file)


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
def test_every_orientation_becomes_upright(tmp_path, orientation, suffix):
    lossless = {"lossless": True} if suffix == "webp" else {}
    file = save(STORED[orientation](PIXELS), tmp_path / f"a.{suffix}", orientation, **lossless)
    np.testing.assert_array_equal(np.asarray(read_image(file)), PIXELS)
    with Image.open(file) as opened:
        for _ in range(2):
            np.testing.assert_array_equal(np.asarray(to_rgb(opened)), PIXELS)


@pytest.mark.parametrize("orientation", STORED)
def test_sideways_jpeg_is_turned_after_decoding(tmp_path, orientation):
    stored = STORED[orientation](PIXELS)
    plain = np.asarray(read_image(save(stored, tmp_path / "plain.jpg")))
    turned = np.asarray(read_image(save(stored, tmp_path / "turned.jpg", orientation)))
    np.testing.assert_array_equal(STORED[orientation](turned), plain)


@pytest.mark.parametrize("orientation", [0, 9, 300])
def test_meaningless_orientation_changes_nothing(tmp_path, orientation):
    file = save(PIXELS, tmp_path / "a.png", orientation)
    np.testing.assert_array_equal(np.asarray(read_image(file)), PIXELS)


def test_image_with_broken_exif_is_read_as_stored(tmp_path):
    file = save(PIXELS, tmp_path / "a.jpg", exif=b"Exif\0\0not a TIFF header")
    plain = save(PIXELS, tmp_path / "b.jpg")
    np.testing.assert_array_equal(np.asarray(read_image(file)), np.asarray(read_image(plain)))


@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "webp"])
def test_usual_image_has_the_pixels_that_pillow_decodes(tmp_path, suffix):
    file = save(PIXELS, tmp_path / f"a.{suffix}")
    with Image.open(file) as image:
        np.testing.assert_array_equal(np.asarray(read_image(file)), np.asarray(image))


@pytest.mark.parametrize(
    ("mode", "colour", "rgb", "suffix"),
    [
        ("L", 100, (100, 100, 100), "png"),
        ("P", 1, (10, 200, 30), "png"),
        ("P", 1, (10, 200, 30), "gif"),
        ("RGBA", (10, 20, 30, 255), (10, 20, 30), "png"),
        ("RGBA", (10, 20, 30, 0), BACKGROUND, "png"),
        ("RGBA", (10, 20, 30, 0), BACKGROUND, "tif"),
        ("LA", (90, 255), (90, 90, 90), "png"),
        ("LA", (90, 0), BACKGROUND, "png"),
        ("1", 1, (255, 255, 255), "png"),
        ("CMYK", (0, 255, 255, 0), (255, 0, 0), "tiff"),
    ],
)
def test_every_colour_mode_becomes_rgb(tmp_path, mode, colour, rgb, suffix):
    image = Image.new(mode, (8, 6), colour)
    if mode == "P":
        image.putpalette([0, 0, 0, 10, 200, 30])
    read = read_image(save(image, tmp_path / f"image.{suffix}"))
    assert (read.mode, read.size) == ("RGB", (8, 6))
    assert read.getpixel((3, 3)) == rgb


def test_cmyk_jpeg_becomes_rgb(tmp_path):
    image = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    red, green, blue = read_image(save(image, tmp_path / "a.jpg", quality=100)).getpixel((8, 8))
    assert red > 240
    assert max(green, blue) < 15


@pytest.mark.parametrize(
    ("image", "suffix", "key"),
    [
        (Image.new("L", (2, 2), 3), "png", 3),
        (Image.new("RGB", (2, 2), (1, 2, 3)), "png", (1, 2, 3)),
        (Image.fromarray(np.full((2, 2), 700, np.uint16)), "png", 700),
        (Image.new("P", (2, 2), 1), "png", 1),
        (Image.new("P", (2, 2), 1), "gif", 1),
    ],
)
def test_colour_declared_transparent_shows_the_background(tmp_path, image, suffix, key):
    if image.mode == "P":
        image.putpalette([0, 0, 0, 10, 200, 30])
    file = save(image, tmp_path / f"a.{suffix}", transparency=key)
    assert read_image(file).getpixel((0, 0)) == BACKGROUND


def test_hidden_pixels_of_a_cut_out_do_not_matter(tmp_path):
    opacity = np.tile(np.array([0, 255, 255, 0], np.uint8), (6, 1))
    black = np.where(opacity[..., None] > 0, PIXELS, 0).astype(np.uint8)
    noise = save(np.dstack([PIXELS, opacity]), tmp_path / "noise.png")
    clean = save(np.dstack([black, opacity]), tmp_path / "clean.png")
    np.testing.assert_array_equal(np.asarray(read_image(noise)), np.asarray(read_image(clean)))


@pytest.mark.parametrize(
    ("levels", "suffix", "gray"),
    [
        (np.uint16([0, 255, 256, 4095, 65535]), "png", [0, 0, 1, 15, 255]),
        (np.uint16([0, 255, 256, 4095, 65535]), "tif", [0, 0, 1, 15, 255]),
        (np.uint16([0, 255, 200, 100, 3]), "pgm", [0, 0, 0, 0, 0]),  # dark, but of 16 bits
        (np.int32([0, 256, 512, 40000, 65535]), "tif", [0, 1, 2, 156, 255]),
        (np.int32([0, 1, 100, 200, 255]), "tif", [0, 1, 100, 200, 255]),
        (np.float32([0, 0.5, 1, 1.4 / 255, 1.6 / 255]), "tif", [0, 128, 255, 1, 2]),
    ],
)
def test_deep_gray_is_scaled_by_the_range_of_its_type(tmp_path, levels, suffix, gray):
    read = np.asarray(read_image(save(levels[None], tmp_path / f"a.{suffix}")))
    assert read.tolist() == [[[level] * 3 for level in gray]]


@pytest.mark.parametrize(
    ("levels", "named"),
    [
        (np.float32([0, 2.5]), r"32-bit floats from 0 to 2.5; expected 0\.\.1"),
        (np.float32([-0.5, 0]), "32-bit floats from -0.5"),
        (np.float32([0, np.nan]), "32-bit floats from nan"),
        (np.int32([0, 65536]), r"32-bit integers from 0 to 65536; expected 0\.\.65535"),
        (np.int32([-1, 5]), "32-bit integers from -1 to 5"),
    ],
)
def test_levels_without_a_known_range_are_refused_by_name(tmp_path, levels, named):
    file = save(levels[None], tmp_path / "depth.tif")
    with pytest.raises(BadImageError, match=rf"cannot decode the image .*depth.tif \({named}"):
        read_image(file)


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "tif"])
def test_first_frame_of_an_animation_is_taken(tmp_path, suffix):
    red, blue = (Image.new("RGB", (8, 8), colour) for colour in ("red", "blue"))
    lossless = {"lossless": True} if suffix == "webp" else {}
    file = save(red, tmp_path / f"a.{suffix}", save_all=True, append_images=[blue], **lossless)
    assert read_image(file).getpixel((0, 0)) == (255, 0, 0)


def test_postscript_is_not_run(tmp_path):
    """Pillow would hand it to Ghostscript, also under the name of a JPEG."""
    Image.new("RGB", (8, 8)).save(tmp_path / "a.eps")
    (tmp_path / "a.eps").rename(tmp_path / "a.jpg")
    with pytest.raises(BadImageError, match="cannot identify"):
        read_image(str(tmp_path / "a.jpg"))


@pytest.mark.parametrize("name", ["truncated.jpg", "text.jpg", "empty.jpg", "absent.jpg"])
def test_broken_file_is_named_with_the_remedy(tmp_path, name):
    whole = save(np.tile(PIXELS, (20, 20, 1)), tmp_path / "whole.jpg")
    content = Path(whole).read_bytes()
    (tmp_path / "truncated.jpg").write_bytes(content[: len(content) // 2])
    (tmp_path / "text.jpg").write_text("this is not an image")
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(BadImageError) as error:
        read_image(str(tmp_path / name))
    assert str(tmp_path / name) in str(error.value)
    assert "INPUT.ON_BAD_IMAGE skip" in str(error.value)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENOMEM, errno.ESTALE])
def test_system_errors_are_not_blamed_on_the_file(tmp_path, monkeypatch, number):
    def refuse(*_, **__):
        raise OSError(number, os.strerror(number), "a.jpg")

    monkeypatch.setattr(Image, "open", refuse)
    with pytest.raises(OSError, match=os.strerror(number)):
        read_image(save(PIXELS, tmp_path / "a.jpg"))


@pytest.mark.filterwarnings("ignore::UserWarning:PIL", "ignore::RuntimeWarning:PIL")
@pytest.mark.parametrize(
    "kind", ["JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF", "BLP", "DDS", "JPEG2000"]
)
def test_damaged_bytes_decode_or_are_bad_images(tmp_path, monkeypatch, kind):
    """No damage raises any other exception."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10**5)
    rng = random.Random(0)
    pixels = np.random.default_rng(1).integers(0, 256, (24, 12, 3), np.uint8)
    file = tmp_path / f"image.{kind.lower()}"
    image = Image.fromarray(pixels).convert("P" if kind == "BLP" else "RGB")
    save(image, file, 6 if kind in ("JPEG", "PNG", "WEBP", "TIFF") else None, format=kind)
    whole = file.read_bytes()
    failed = 0
    for _ in range(150):
        damaged = bytearray(whole)
        for _ in range(rng.randrange(1, 8)):
            damaged[rng.randrange(rng.choice([40, len(damaged)]))] = rng.randrange(256)
        file.write_bytes(damaged[: rng.choice([len(damaged), rng.randrange(len(damaged))])])
        try:
            assert read_image(str(file)).mode == "RGB"
        except BadImageError:
            failed += 1
    assert failed > 10


def write_tiff(path, bits, photometric, content, size, sample_format=1):
    """An uncompressed gray TIFF, which Pillow cannot write for all of these."""
    tags = {256: size[0], 257: size[1], 258: bits, 259: 1, 262: photometric, 273: 134, 277: 1}
    tags |= {278: size[1], 279: len(content), 339: sample_format}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    start = struct.pack("<2sHIH", b"II", 42, 8, len(tags))
    path.write_bytes(start + entries + struct.pack("<I", 0) + content)
    return str(path)


@pytest.mark.parametrize(
    ("bits", "photometric", "sample_format", "levels", "gray"),
    [
        (16, 1, 1, [0, 255, 256, 65535], [0, 0, 1, 255]),
        (16, 0, 1, [0, 255, 256, 65535], [255, 255, 254, 0]),  # white is 0
        (16, 1, 2, [0, 255, 100, 200], [0, 0, 0, 0]),  # signed
        (12, 1, 1, [0, 16, 2048, 4095], [0, 1, 128, 255]),
    ],
)
def test_tiff_is_scaled_by_its_own_bits(tmp_path, bits, photometric, sample_format, levels, gray):
    content = struct.pack("<4H", *levels)
    if bits == 12:  # without gaps
        content = int("".join(f"{level:012b}" for level in levels), 2).to_bytes(6, "big")
    file = write_tiff(tmp_path / "a.tif", bits, photometric, content, (4, 1), sample_format)
    assert np.asarray(read_image(file))[0, :, 0].tolist() == gray


@pytest.mark.parametrize(
    ("depth", "key", "levels"), [(4, 5, [0, 17, 85, 255]), (2, 1, [0, 85, 170, 255])]
)
def test_transparent_gray_of_few_bits_is_white(tmp_path, depth, key, levels):
    packed = int("".join(f"{x * (2**depth - 1) // 255:0{depth}b}" for x in levels), 2)
    rows = b"\0" + packed.to_bytes(4 * depth // 8, "big")
    parts = [(b"IHDR", struct.pack(">IIBBBBB", 4, 1, depth, 0, 0, 0, 0))]
    parts += [(b"tRNS", struct.pack(">H", key)), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    chunks = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    ]
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    shown = np.asarray(read_image(str(tmp_path / "a.png")))[0, :, 0].tolist()
    assert shown == [255 if x == key * 255 // (2**depth - 1) else x for x in levels]


def test_picture_whose_opacity_was_never_set_is_shown(tmp_path):
    pixels = np.dstack([PIXELS, np.zeros(PIXELS.shape[:2], np.uint8)])
    file = save(pixels, tmp_path / "a.tga")
    np.testing.assert_array_equal(np.asarray(read_image(file)), PIXELS)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes")
def test_pipe_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "a.jpg")
    with pytest.raises(BadImageError, match=r"a\.jpg \(not a regular file\)"):
        read_image(str(tmp_path / "a.jpg"))

"""What counts as an image file, and the count of what does not."""

import numpy as np
import pytest
from PIL import Image

from datasets.images.decode import read_image
from datasets.readers.image_files import describe_unread, find_files, image_formats, is_image

READABLE = [
    *("jpg", "JPEG", "jfif", "jpe", "png", "apng", "bmp", "dib", "gif", "webp", "tif", "tiff"),
    *("ppm", "pgm", "jp2", "tga", "ico", "avif"),
]


@pytest.fixture
def photo():
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8))


@pytest.mark.parametrize("ending", READABLE)
def test_file_that_pillow_can_read_is_an_image(tmp_path, photo, ending):
    if ending == "avif" and "AVIF" not in image_formats():
        pytest.skip("this Pillow has no AVIF")
    file = tmp_path / f"a.{ending}"
    photo.save(file)
    assert is_image(file)
    assert read_image(str(file)).size == (16, 16)


@pytest.mark.parametrize("ending", ["heic", "eps", "ps", "pdf", "h5", "mpg", "mp4", "txt", "zip"])
def test_other_ending_is_not_an_image(tmp_path, photo, ending):
    photo.save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / f"a.{ending}")
    assert not is_image(tmp_path / f"a.{ending}")


def test_file_without_ending_is_recognised_by_its_content(tmp_path, photo):
    for name in ("0001", "photo.", "with.dots.in it"):
        photo.save(tmp_path / name, "JPEG")
    (tmp_path / "LABELS").write_text("P6 is not a picture here\n" * 99)
    (tmp_path / "noise").write_bytes(bytes(range(256)) * 20)
    (tmp_path / "zeros").write_bytes(bytes(4000))
    (tmp_path / "empty").touch()
    (tmp_path / "folder").mkdir()
    images = {path.name for path in tmp_path.iterdir() if is_image(path)}
    assert images == {"0001", "photo."}


def test_ending_of_a_plug_in_counts_once_it_is_registered(tmp_path, monkeypatch):
    file = tmp_path / "a.heic"
    file.touch()
    assert not is_image(file)
    for table in ("OPEN", "EXTENSION", "ID"):
        monkeypatch.setattr(Image, table, getattr(Image, table).copy())
    Image.register_open("HEIF", lambda *_: None, lambda prefix: prefix[4:8] == b"ftyp")
    Image.register_extension("HEIF", ".heic")
    assert is_image(file)
    assert "HEIF" in image_formats()


def test_images_and_unread_files_of_a_folder_are_listed_by_path(tmp_path):
    names = ["b/2.jpg", "a/x/1.GIF", "a/3.heic", "b/film.mp4", "b/blob", "photos.zip"]
    side = "README README.md b/Thumbs.db labels.csv notes.txt x.json ._1.jpg .DS_Store .git/blob"
    for name in [*names, *side.split()]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.jpg").mkdir()
    found = find_files(tmp_path)
    assert [x.relative_to(tmp_path).as_posix() for x in found.images] == ["a/x/1.GIF", "b/2.jpg"]
    unread = [x.relative_to(tmp_path).as_posix() for x in found.unread]
    assert unread == ["a/3.heic", "b/blob", "b/film.mp4", "photos.zip"]


def test_unread_files_are_counted_by_ending_the_most_frequent_first():
    paths = [*["x/1"] * 20, *["a.HEIC", "b.heic"] * 15, "c.mp4", "c.avi"]
    assert describe_unread(paths) == "52 files not read: .heic 30, none 20, .avi 1, .mp4 1"
    assert describe_unread(["a.heic"]) == "1 file not read: .heic 1"
    assert describe_unread([]) == ""

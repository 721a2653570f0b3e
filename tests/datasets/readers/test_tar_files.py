"""Images in tar files are read in place, with their labels."""

import gzip
import io
import json
import tarfile

import numpy as np
import pytest
from PIL import Image

from datasets.image_lists import read_image_lists
from datasets.images.decode import BadImageError, read_image
from datasets.readers.tar_files import is_readable, read_member, read_tar


def png(shade):
    content = io.BytesIO()
    Image.new("RGB", (4, 8), (shade, 0, 255 - shade)).save(content, "png")
    return content.getvalue()


@pytest.fixture
def write_tar(tmp_path):
    """`write_tar({name: content}, "a.tar")` -> its path."""

    def write(members, name="a.tar"):
        with tarfile.open(tmp_path / name, "w") as tar:
            for member, content in members.items():
                entry = tarfile.TarInfo(member)
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
        return tmp_path / name

    return write


def test_samples_are_the_images_in_the_order_of_the_tar(write_tar):
    path = write_tar(
        {
            "b/000001.png": png(1),
            "b/000001.json": json.dumps({"pid": 7, "camid": 2, "note": "x"}).encode(),
            "a/000001.cls": b"12",
            "a/000001.png": png(2),
            "a/000002.png": png(3),
            "a/000002.txt": b"a person in red",
            "a/000003.mp4": b"film",
            "._000001.png": b"hidden",
        }
    )
    found = read_tar(path)
    assert [(x.path, x.pid, x.camid, x.identity, x.camera) for x in found.samples] == [
        (f"{path}/b/000001.png", 7, 2, "7", "2"),
        (f"{path}/a/000001.png", 12, -1, "12", ""),
        (f"{path}/a/000002.png", -1, -1, "", ""),
    ]
    assert found.unread == ["a/000003.mp4"]


def test_members_are_decoded_as_files_are(write_tar):
    path = write_tar({"deep/er.tar/one.png": png(200), "one.txt": b"no image", "broken.png": b"x"})
    pixels = np.asarray(read_image(f"{path}/deep/er.tar/one.png"))
    np.testing.assert_array_equal(pixels, np.broadcast_to([200, 0, 55], (8, 4, 3)))
    assert read_member(f"{path}/one.txt") == b"no image"
    assert read_member(str(path)) is None
    with pytest.raises(BadImageError, match=r"a\.tar/broken\.png"):
        read_image(f"{path}/broken.png")
    with pytest.raises(BadImageError, match=r"a\.tar/none\.png .*no such member"):
        read_image(f"{path}/none.png")


def test_a_folder_that_is_called_like_a_tar_is_a_folder(tmp_path):
    folder = tmp_path / "odd.tar"
    folder.mkdir()
    (folder / "x.png").write_bytes(png(9))
    assert read_member(str(folder / "x.png")) is None
    assert read_image(str(folder / "x.png")).size == (4, 8)
    (images,) = read_image_lists([str(folder)], "")
    assert [x.path for x in images.samples] == [str(folder / "x.png")]


def test_a_rewritten_tar_is_read_anew(write_tar):
    path = write_tar({"x.png": png(1)})
    assert read_member(f"{path}/x.png") == png(1)
    write_tar({"first.png": png(5) + bytes(600), "x.png": png(2)})
    assert read_member(f"{path}/x.png") == png(2)


def test_tars_and_their_members_are_places_of_images(write_tar, tmp_path, caplog):
    path = write_tar({"x.png": png(1), "y.png": png(2), "z.mp4": b""})
    whole, one = read_image_lists([str(path), f"{path}/x.png"], "")
    assert [x.path for x in whole.samples] == [f"{path}/x.png", f"{path}/y.png"]
    assert one.samples == []  # repeated
    assert "1 file not read: .mp4 1" in caplog.text
    assert is_readable(f"{path}/y.png")
    assert not is_readable(f"{path}/n.png")
    with pytest.raises(FileNotFoundError, match=rf"name them: {tmp_path}/\*\.tar"):
        read_image_lists([str(tmp_path)], "")
    with pytest.raises(FileNotFoundError, match=r"no images in .*b\.tar; 1 file not read"):
        read_image_lists([str(write_tar({"z.mp4": b""}, "b.tar"))], "")


@pytest.mark.parametrize(
    ("label", "named"),
    [
        (b"seven", r"1\.cls: not JSON"),
        (b"7.5", r"1\.cls: pid is '7.5', not a whole number"),
        (b"true", r"1\.cls: pid is 'True', not a whole number"),
        (b"-2", r"1\.cls: pid is '-2'"),
    ],
)
def test_labels_that_are_no_numbers_are_refused(write_tar, label, named):
    with pytest.raises(ValueError, match=named):
        read_tar(write_tar({"1.png": png(1), "1.cls": label}))


def test_damaged_tars_are_refused(write_tar):
    path = write_tar({"1.png": png(1), "2.png": png(2) + bytes(2000)})
    content = path.read_bytes()
    path.write_bytes(gzip.compress(content))
    with pytest.raises(ValueError, match="not a tar file, compressed or damaged"):
        read_tar(path)
    path.write_bytes(content[:2600])
    with pytest.raises(ValueError, match=r"cut off|damaged"):
        read_tar(path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="damaged"):
        read_tar(path)
    with tarfile.open(path, "w") as tar:
        for shade in (1, 2):
            entry = tarfile.TarInfo("same.png")
            entry.size = len(png(shade))
            tar.addfile(entry, io.BytesIO(png(shade)))
    with pytest.raises(ValueError, match=r"1 names occur more than once, e\.g\. same\.png"):
        read_tar(path)


def test_unknown_people_and_cameras_have_no_names(write_tar):
    label = json.dumps({"pid": -1, "camid": -1}).encode()
    (found,) = read_tar(write_tar({"1.png": png(1), "1.json": label})).samples
    assert (found.pid, found.camid, found.identity, found.camera) == (-1, -1, "", "")


def test_hard_links_are_their_files_and_other_links_are_counted(tmp_path):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as tar:
        entry = tarfile.TarInfo("one.png")
        entry.size = len(png(7))
        tar.addfile(entry, io.BytesIO(png(7)))
        for name, kind in (("two.png", tarfile.LNKTYPE), ("three.png", tarfile.SYMTYPE)):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = kind, "one.png"
            tar.addfile(link)
        folder = tarfile.TarInfo("deep")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
    found = read_tar(path)
    assert [x.path for x in found.samples] == [f"{path}/one.png", f"{path}/two.png"]
    assert read_member(f"{path}/two.png") == png(7)
    assert found.unread == ["three.png"]


@pytest.mark.parametrize("folder", ["plain", "\u0130\u0130"])  # grows when it is made lower case
def test_every_spelling_of_a_path_leads_to_the_member(write_tar, tmp_path, monkeypatch, folder):
    (tmp_path / folder).mkdir()
    path = write_tar({"./a.png": png(1), "b/c.png": png(2)}, f"{folder}/x.TAR")
    (image, other) = read_tar(path).samples
    assert (image.path, other.path) == (f"{path}/a.png", f"{path}/b/c.png")
    monkeypatch.chdir(path.parent)
    for start in (str(path), "./x.TAR", "x.TAR", f"/{path}", f"{path.parent}//x.TAR"):
        for name in ("a.png", "./a.png", "b/../a.png"):
            assert read_member(f"{start}/{name}") == png(1)
            assert is_readable(f"{start}/{name}")

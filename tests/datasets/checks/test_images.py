"""Image faults: broken files, odd shapes, equal images."""

import numpy as np
import pytest
from PIL import ExifTags, Image

from datasets.checks.images import (
    FileFacts,
    find_broken_files,
    find_equal_images,
    find_size_faults,
    find_unread_files,
    read_file,
    read_files,
)
from datasets.checks.report import ERROR, WARNING
from datasets.records import DataSplits, Sample


def save_image(path, seed, size=(64, 32)):
    path.parent.mkdir(parents=True, exist_ok=True)
    levels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(levels).save(path)
    return str(path)


# -------------------------------------------------------------------------------------- files


def test_readable_file_gives_size_and_hash(tmp_path):
    path = save_image(tmp_path / "a.png", 0, (50, 20))
    facts = read_file(path)
    assert (facts.height, facts.width, facts.error) == (50, 20, "")
    with Image.open(path) as image:
        image.save(tmp_path / "a.bmp")  # the same pixels
        image.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png")
    assert read_file(str(tmp_path / "a.bmp")) == facts
    assert read_file(str(tmp_path / "turned.png")).content != facts.content


@pytest.mark.parametrize("ending", ["jpg", "png"])
def test_truncated_file_is_broken(tmp_path, ending):
    whole = tmp_path / f"a.{ending}"
    save_image(whole, 0)
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    facts = read_file(str(whole))
    assert (facts.height, facts.width, facts.content) == (0, 0, "")
    assert "truncated" in facts.error


def test_reasons_do_not_repeat_the_path(tmp_path):
    (tmp_path / "text.jpg").write_text("not an image")
    (tmp_path / "empty.jpg").touch()
    for name in ("text.jpg", "empty.jpg"):
        assert read_file(str(tmp_path / name)).error == "cannot identify image file the file"
    assert "No such file" in read_file(str(tmp_path / "gone.jpg")).error


def test_sideways_photo_has_the_size_that_is_seen(tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.new("RGB", (50, 20)).save(tmp_path / "a.jpg", exif=exif)
    facts = read_file(str(tmp_path / "a.jpg"))
    assert (facts.height, facts.width) == (50, 20)


def test_files_that_are_not_read_are_a_fault_with_their_endings():
    unread = ("a/1.heic", "a/2.heic", "a/blob")
    (fault,) = find_unread_files(DataSplits("shop", [], [], [], unread=unread))
    assert (fault.severity, fault.what) == (WARNING, "3 files not read: .heic 2, none 1")
    assert fault.where == unread
    assert "convert them" in fault.remedy
    assert list(find_unread_files(DataSplits("shop", [], [], []))) == []


@pytest.mark.parametrize("num_workers", [0, 1, 3])
def test_every_file_is_read_once(tmp_path, num_workers):
    paths = [save_image(tmp_path / f"{n}.png", n) for n in range(70)]
    facts = read_files([*paths, *paths], num_workers)
    assert list(facts) == paths
    assert facts == {path: read_file(path) for path in paths}
    assert read_files([], num_workers) == {}


# -------------------------------------------------------------------------------------- faults


def facts_of(**contents):
    """Files of 64 x 32 pixels by content; an empty one is broken."""
    return {
        path: FileFacts(64, 32, content) if content else FileFacts(0, 0, "", "it is torn")
        for path, content in contents.items()
    }


def data(train=(), query=(), gallery=(), **options):
    """Splits of (path, identity, camera)."""
    parts = ([Sample(*image) for image in part] for part in (train, query, gallery))
    return DataSplits("mine", *parts, **options)


def test_broken_files_are_errors_unless_skipped():
    splits = data([("a", 1, 0)], [("b", 1, 0)], [("b", 1, 0), ("c", 1, 0)])
    facts = facts_of(a="1", b="", c="")
    (fault,) = find_broken_files(splits, facts, skip=False)
    assert fault.severity == ERROR
    assert fault.what == "2 of 3 images cannot be decoded"
    assert fault.where == ("b: it is torn", "c: it is torn")
    (fault,) = find_broken_files(splits, facts, skip=True)
    assert fault.severity == WARNING
    assert not list(find_broken_files(splits, facts_of(a="1", b="2", c="3"), skip=False))


def test_tiny_odd_and_stretched_images_are_found():
    sizes = {"a": (64, 32), "b": (60, 30), "c": (64, 10), "d": (30, 100), "e": (101, 20)}
    facts = {path: FileFacts(*size, path) for path, size in sizes.items()}
    splits = data([(path, 1, 0) for path in sizes])
    tiny, odd = find_size_faults(splits, facts, (256, 128))  # the median aspect is 2
    assert (tiny.kind, tiny.where) == ("tiny image", ("c: 64 x 10",))
    assert (odd.kind, odd.where) == ("odd aspect", ("c: 64 x 10", "d: 30 x 100", "e: 101 x 20"))
    (*_, stretched) = find_size_faults(splits, facts, (256, 300))
    assert stretched.kind == "stretched images"
    assert stretched.what == (
        "height / width is 2 (median), that of the model's input 0.853 (256 x 300)"
    )


def test_broken_files_have_no_size_faults():
    assert not list(find_size_faults(data([("a", 1, 0)]), facts_of(a=""), (256, 128)))


def equal_files(splits, facts, **rule):
    found = find_equal_images(splits, facts, **({"ignore_same_camera": True} | rule))
    return {fault.kind: list(fault.where) for fault in found}


def test_test_image_equal_to_a_training_image_is_found():
    splits = data([("a", 1, 0), ("b", 2, 0)], [("c", 3, 0)], [("d", 2, 1), ("e", 3, 1)])
    assert equal_files(splits, facts_of(a="1", b="2", c="3", d="2", e="5")) == {
        "equal images in training and test": [
            "d (identity 2, camera 2) = b (identity 2, camera 1)",
        ]
    }


def test_equal_files_of_different_identities_are_found():
    splits = data([("a", 1, 0), ("b", 2, 0), ("c", 1, 1)], [("d", 3, 0)], [("e", 4, 0)])
    facts = facts_of(a="1", b="1", c="1", d="2", e="2")
    assert equal_files(splits, facts) == {
        "equal images of different identities": [
            "b (identity 2, camera 1) = a (identity 1, camera 1)",
            "e (identity 4, camera 1) = d (identity 3, camera 1)",
        ]
    }
    distractor = data([], [("d", 3, 0)], [("e", 4, 0)], distractors=frozenset([4]))
    assert equal_files(distractor, facts) == {}


def test_separately_numbered_test_identities_are_other_people():
    splits = data([("a", 0, 0)], [("b", 0, 0)], [("c", 1, 1)], separate_test_ids=True)
    found = equal_files(splits, facts_of(a="1", b="1", c="3"))
    assert list(found) == [
        "equal images in training and test",
        "equal images of different identities",
    ]


def test_query_that_is_also_in_the_gallery_is_not_reported():
    splits = data([], [("a", 1, 0)], [("a", 1, 0), ("b", 1, 0)])
    assert equal_files(splits, facts_of(a="1", b="2"), ignore_same_camera=False) == {}


def test_query_in_the_gallery_is_found_unless_it_is_junk():
    facts = facts_of(a="1", b="1", c="3", d="3")
    splits = data([], [("a", 1, 0), ("c", 2, 0)], [("b", 1, 1), ("d", 2, 0)])
    first = "a (identity 1, camera 1) = b (identity 1, camera 2)"
    second = "c (identity 2, camera 1) = d (identity 2, camera 1)"
    assert equal_files(splits, facts) == {"query in gallery": [first]}
    assert equal_files(splits, facts, ignore_same_camera=False) == {
        "query in gallery": [first, second]
    }


def test_broken_files_are_not_equal():
    splits = data([("a", 1, 0), ("b", 2, 0)])
    assert equal_files(splits, facts_of(a="", b="")) == {}


def test_any_match_in_the_gallery_is_found():
    """Not only the first equal image, which is of another identity."""
    facts = facts_of(a="1", b="1", c="1")
    for gallery in ([("b", 2, 1), ("c", 1, 1)], [("c", 1, 1), ("b", 2, 1)]):
        found = equal_files(data([], [("a", 1, 0)], gallery), facts)
        text = "a (identity 1, camera 1) = c (identity 1, camera 2)"
        assert found["query in gallery"] == [text]

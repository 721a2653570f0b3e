"""Occluded-REID: both names of its folders, flat or a folder per person."""

import pytest

from datasets.readers.occ_reid import read_occ_reid

FLAT = ("001_01.tif", "001_02.tif", "020_05.jpg", "._001_01.tif")
NESTED = ("001/001_01.tif", "001/001_02.tif", "020/020_05.jpg", "020/Thumbs.db")


def make(make_files, tree, query, gallery, names=FLAT):
    make_files(*(f"{part}/{name}" for part in (query, gallery) for name in names), folder=tree)


@pytest.mark.parametrize("names", [FLAT, NESTED], ids=["flat", "nested"])
@pytest.mark.parametrize(
    ("tree", "query", "gallery"),
    [
        ("Occluded_REID", "query", "gallery"),
        ("OccludedREID", "occluded_body_images", "whole_body_images"),
        ("occ_reid", "occluded_body_images", "whole_body_images"),
        (".", "query", "gallery"),
    ],
)
def test_query_is_camera_0_and_gallery_camera_1(
    tmp_path, make_files, facts, tree, query, gallery, names
):
    make(make_files, tree, query, gallery, names)
    splits = read_occ_reid(tmp_path)
    base = "" if tree == "." else f"{tree}/"
    found = [(name, pid) for name, pid in zip(names, (1, 1, 20), strict=False)]
    assert facts(splits.query) == [(f"{base}{query}/{name}", pid, 0) for name, pid in found]
    assert facts(splits.gallery) == [(f"{base}{gallery}/{name}", pid, 1) for name, pid in found]
    assert (splits.name, splits.train, splits.distractors) == ("occ_reid", [], frozenset())
    assert splits.notes == ("for testing only",)


def test_missing_tree_names_both_forms(tmp_path, make_files):
    make_files("OccludedREID/occluded_body_images/001_01.tif")
    with pytest.raises(FileNotFoundError) as error:
        read_occ_reid(tmp_path)
    text = str(error.value)
    for folder in ("Occluded_REID", "Occluded-REID", "occluded_reid", "occ_reid"):
        assert f"{tmp_path}/{folder}  (no such folder)" in text
    assert f"{tmp_path}/OccludedREID  (lacks gallery or whole_body_images)" in text
    assert f"  {tmp_path}  (lacks query or occluded_body_images, gallery or" in text
    assert "Occluded_REID/     (or OccludedREID/ with occluded_body_images/" in text
    assert "REID_DATA" in text


def test_strange_name_is_an_error_naming_the_file(tmp_path, make_files):
    make(make_files, "Occluded_REID", "query", "gallery")
    make_files("Occluded_REID/gallery/person.jpg")
    with pytest.raises(ValueError, match=r"occ_reid: cannot read .*gallery/person\.jpg: .*001_01"):
        read_occ_reid(tmp_path)


def test_empty_folder_is_an_error(tmp_path, make_files):
    make(make_files, "Occluded_REID", "query", "gallery")
    for path in (tmp_path / "Occluded_REID" / "gallery").iterdir():
        path.unlink()
    with pytest.raises(FileNotFoundError, match=r"occ_reid: no images in .*gallery"):
        read_occ_reid(tmp_path)

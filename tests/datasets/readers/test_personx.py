"""PersonX: six cameras out of twelve."""

import pytest

from datasets.readers.personx import read_personx

QUERY = [f"query/0{camera}00_c{camera}_1.jpg" for camera in (3, 4, 8)]
GALLERY = [f"bounding_box_test/00{camera}_c{camera}_1.jpg" for camera in (10, 11, 12)]


@pytest.mark.parametrize("tree", ["personx/subset1", "PersonX/subset1", "subset1", "personx", "."])
def test_cameras_become_0_to_5(tmp_path, make_files, facts, tree):
    make_files("bounding_box_train/0001_c3_9.jpg", *QUERY, *GALLERY, folder=tree)
    make_files("bounding_box_train/0000_c12_9.jpg", folder=tree)
    splits = read_personx(tmp_path)
    base = "" if tree == "." else f"{tree}/"
    assert facts(splits.train) == [
        (f"{base}bounding_box_train/0000_c12_9.jpg", 0, 5),
        (f"{base}bounding_box_train/0001_c3_9.jpg", 1, 0),
    ]
    assert facts(splits.query) == [
        (f"{base}{name}", pid, camid)
        for name, pid, camid in zip(QUERY, (300, 400, 800), (0, 1, 2), strict=True)
    ]
    assert facts(splits.gallery) == [
        (f"{base}{name}", pid, camid)
        for name, pid, camid in zip(GALLERY, (10, 11, 12), (3, 4, 5), strict=True)
    ]
    assert splits.name == "personx"
    assert splits.distractors == frozenset()  # 0 is a person here, unlike in Market-1501
    assert splits.ignore_same_camera


def test_other_camera_is_an_error_naming_the_file(tmp_path, make_files):
    make_files("bounding_box_train/0001_c5_9.jpg", *QUERY, *GALLERY)
    with pytest.raises(
        ValueError, match=r"personx: .*0001_c5_9\.jpg: camera 5 is not .*3, 4, 8, 10, 11, 12"
    ):
        read_personx(tmp_path)


def test_missing_tree_names_every_path(tmp_path, make_files):
    make_files("personx/subset1/query/0001_c3_9.jpg")
    with pytest.raises(FileNotFoundError) as error:
        read_personx(tmp_path)
    text = str(error.value)
    lacks = "lacks bounding_box_train, bounding_box_test"
    assert f"{tmp_path}/personx/subset1  ({lacks})" in text
    for folder in ("PersonX/subset1", "subset1", "PersonX"):
        assert f"{tmp_path}/{folder}  (no such folder)" in text
    assert f"{tmp_path}/personx  (lacks bounding_box_train, query" in text
    assert "personx/subset1/\n" in text


def test_empty_folder_is_an_error(tmp_path, make_files):
    make_files("bounding_box_train/list.txt", *QUERY, *GALLERY)
    with pytest.raises(FileNotFoundError, match=r"personx: no images in .*bounding_box_train"):
        read_personx(tmp_path)

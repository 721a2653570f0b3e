"""RandPerson: nineteen cameras over eleven scenes."""

import pytest

from datasets.readers.randperson import read_randperson

# The last camera of every scene, from the first cameras 0 2 4 6 8 9 10 12 13 14 15 and 19 in all.
LAST = [(0, 1, 1), (1, 1, 3), (2, 1, 5), (3, 1, 7), (4, 0, 8), (5, 0, 9), (6, 1, 11)]
LAST += [(7, 0, 12), (8, 0, 13), (9, 0, 14), (10, 3, 18)]


@pytest.mark.parametrize(
    ("tree", "images"),
    [
        ("randperson_subset", "randperson_subset/"),
        ("RandPerson/randperson_subset", "RandPerson/randperson_subset/"),
        ("randperson/randperson_subset", "randperson/randperson_subset/"),
        ("randperson_subset/randperson_subset", "randperson_subset/randperson_subset/"),
    ],
)
def test_scenes_share_no_camera(tmp_path, make_files, facts, tree, images):
    names = [f"{scene:04}_s{scene:02}_c{camera:02}_f000010.jpg" for scene, camera, _ in LAST]
    make_files(*names, "0007_s00_c00_f000000.jpg", "Thumbs.db", folder=tree)
    splits = read_randperson(tmp_path)
    expected = [
        (f"{images}{name}", scene, camid)
        for name, (scene, _, camid) in zip(names, LAST, strict=True)
    ]
    first = (f"{images}0007_s00_c00_f000000.jpg", 7, 0)
    assert facts(splits.train) == sorted([*expected, first])
    assert (splits.name, splits.query, splits.gallery) == ("randperson", [], [])
    assert splits.notes == ("for training only",)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("0001_s00_c02_f000000.jpg", "scene 0 has no camera 2"),  # would be camera 0 of scene 1
        ("0001_s04_c01_f000000.jpg", "scene 4 has no camera 1"),
        ("0001_s10_c04_f000000.jpg", "scene 10 has no camera 4"),
        ("0001_s11_c00_f000000.jpg", "scene 11 has no camera 0"),
    ],
)
def test_camera_outside_its_scene_is_an_error(tmp_path, make_files, name, wrong):
    make_files(name, folder="randperson_subset")
    with pytest.raises(ValueError, match=f"randperson: cannot read .*{name}: {wrong};"):
        read_randperson(tmp_path)


def test_strange_name_is_an_error_naming_the_file(tmp_path, make_files):
    make_files("0001_c1_f000000.jpg", folder="randperson_subset")
    with pytest.raises(ValueError, match=r"cannot read .*0001_c1_f000000\.jpg: .*camera counted"):
        read_randperson(tmp_path)


def test_missing_tree_names_every_path(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        read_randperson(tmp_path)
    text = str(error.value)
    for folder in ("randperson_subset", "RandPerson", "randperson"):
        assert f"{tmp_path}/{folder}  (no such folder)" in text
    assert f"{tmp_path}  (lacks randperson_subset)" in text
    assert "randperson_subset/   0000_s00_c00_f000000.jpg" in text


def test_empty_folder_is_an_error(tmp_path, make_files):
    make_files("readme.txt", folder="randperson_subset")
    with pytest.raises(FileNotFoundError, match=r"randperson: no images in .*randperson_subset"):
        read_randperson(tmp_path)

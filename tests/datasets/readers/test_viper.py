"""VIPeR: identities by position, the frozen splits, and a tree that is already divided."""

import pytest

from datasets.readers.viper import FROZEN, read_viper

NUMBERS = [number + number // 7 for number in range(632)]  # the names skip numbers


@pytest.fixture
def make_pairs(make_files):
    def make(folder="VIPeR"):
        for view, angle in (("cam_a", 45), ("cam_b", 90)):
            make_files(*(f"{view}/{number:03}_{angle}.bmp" for number in NUMBERS), folder=folder)
            make_files(f"{view}/Thumbs.db", folder=folder)

    return make


@pytest.fixture
def make_divided(make_files):
    def make(split, folder="viper"):
        make_files(
            "train/0004_x.bmp",
            "train/0004_y.bmp",
            "train/0011_x.bmp",
            "query/0002_x.bmp",
            "query/0010_x.bmp",
            "gallery/0002_y.bmp",
            "gallery/0010_y.bmp",
            folder=f"{folder}/split_{split}a",
        )

    return make


@pytest.mark.parametrize("folder", ["VIPeR", "viper/VIPeR", "viper", "."])
def test_every_split_has_316_queries_and_316_gallery_images(tmp_path, make_pairs, facts, folder):
    make_pairs(folder)
    prefix = "" if folder == "." else f"{folder}/"
    for split, test in enumerate(FROZEN.load()):
        splits = read_viper(tmp_path, split)
        train = [pid for pid in range(632) if pid not in test]
        assert (splits.name, len(train), len(test)) == ("viper", 316, 316)
        assert facts(splits.query) == [
            (f"{prefix}cam_a/{NUMBERS[pid]:03}_45.bmp", pid, 0) for pid in test
        ]
        assert facts(splits.gallery) == [
            (f"{prefix}cam_b/{NUMBERS[pid]:03}_90.bmp", pid, 1) for pid in test
        ]
        assert facts(splits.train) == [
            (f"{prefix}{view}/{NUMBERS[pid]:03}_{angle}.bmp", pid, camid)
            for camid, (view, angle) in enumerate([("cam_a", 45), ("cam_b", 90)])
            for pid in train
        ]
        assert splits.notes == (FROZEN.note,)
        assert splits.ignore_same_camera
        assert not splits.distractors


def test_missing_images_are_an_error(tmp_path, make_pairs):
    make_pairs()
    (tmp_path / "VIPeR/cam_b/003_90.bmp").unlink()
    with pytest.raises(ValueError, match=r"viper: 632 images in .*cam_a, 631 in .*cam_b; exp"):
        read_viper(tmp_path)
    (tmp_path / "VIPeR/cam_a/003_45.bmp").unlink()
    with pytest.raises(ValueError, match=r"631 in .*cam_b; expected 632 in both.*complete"):
        read_viper(tmp_path)


def test_empty_folder_is_an_error(tmp_path, make_files):
    make_files("cam_a/000_45.bmp", "cam_b/Thumbs.db", folder="VIPeR")
    with pytest.raises(FileNotFoundError, match=r"viper: no images in .*VIPeR/cam_b"):
        read_viper(tmp_path)


@pytest.mark.parametrize("folder", ["viper", "VIPeR", "viper/VIPeR", "."])
@pytest.mark.parametrize("split", [1, 10])
def test_divided_tree_keeps_its_own_splits(tmp_path, make_divided, facts, folder, split):
    make_divided(split, folder)
    splits = read_viper(tmp_path, split - 1)
    prefix = "" if folder == "." else f"{folder}/"
    assert facts(splits.train) == [
        (f"{prefix}split_{split}a/train/0004_x.bmp", 4, 0),
        (f"{prefix}split_{split}a/train/0004_y.bmp", 4, 1),
        (f"{prefix}split_{split}a/train/0011_x.bmp", 11, 0),
    ]
    assert [(pid, camid) for _, pid, camid in facts(splits.query)] == [(2, 0), (10, 0)]
    assert [(pid, camid) for _, pid, camid in facts(splits.gallery)] == [(2, 1), (10, 1)]
    assert splits.notes[0] == "the 10 splits of the folders, not the frozen ones"


def test_camera_folders_come_before_a_divided_tree(tmp_path, make_pairs, make_divided):
    make_pairs("viper")
    make_divided(1)
    assert read_viper(tmp_path).notes == (FROZEN.note,)


def test_strange_names_in_a_divided_tree_are_errors(tmp_path, make_files, make_divided):
    make_divided(1)
    make_files("viper/split_1a/query/0012001.bmp")
    with pytest.raises(ValueError, match=r"identity 12001 is in .*1a/query but not in .*gallery"):
        read_viper(tmp_path)
    make_files("viper/split_1a/query/person7.bmp")
    with pytest.raises(ValueError, match=r"viper: cannot read .*person7\.bmp: expected.*0012_a"):
        read_viper(tmp_path)


def test_missing_tree_names_every_path_and_both_forms(tmp_path, make_divided):
    make_divided(1)
    with pytest.raises(FileNotFoundError) as error:
        read_viper(tmp_path, 3)
    text = str(error.value)
    assert "data set viper not found" in text
    assert f"{tmp_path}/VIPeR  (no such folder)" in text
    assert f"{tmp_path}/viper  (lacks cam_a, cam_b)" in text
    assert f"{tmp_path}  (lacks cam_a, cam_b)" in text
    assert f"{tmp_path}/viper  (lacks split_4a/train, split_4a/query, split_4a/gallery)" in text
    assert "cam_a/  000_45.bmp" in text
    assert "split_1a/ .. split_10a/" in text
    assert "REID_DATA" in text

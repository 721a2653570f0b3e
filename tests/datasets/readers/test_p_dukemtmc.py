"""P-DukeMTMC-reID: identity from the folder, camera from the file name."""

import pytest

from datasets.readers.p_dukemtmc import read_p_dukemtmc

TRAIN = ("0001/0001_c2_f0046182.jpg", "0001/c8_f0046190.jpg", "0012/0012_c1_f0000001.png")
TEST = (
    "test/occluded_body_images/0005/0005_c2_f0046985.jpg",
    "test/whole_body_images/0005/0005_c1_f0044158.jpg",
    "test/whole_body_images/0007/occ1_c3_7.jpg",
)


@pytest.mark.parametrize(
    "tree", ["P-DukeMTMC-reid", "p_dukemtmc/P-DukeMTMC-reid", "P-DukeMTMC-reID", "p_dukemtmc", "."]
)
def test_folders_give_pids_and_file_names_cameras(tmp_path, make_files, facts, tree):
    make_files(*(f"train/{name}" for name in TRAIN), *TEST, folder=tree)
    splits = read_p_dukemtmc(tmp_path)
    base = "" if tree == "." else f"{tree}/"
    train = zip(TRAIN, (1, 1, 12), (1, 7, 0), strict=True)
    assert facts(splits.train) == [(f"{base}train/{name}", pid, cam) for name, pid, cam in train]
    assert facts(splits.query) == [(f"{base}{TEST[0]}", 5, 1)]
    assert facts(splits.gallery) == [(f"{base}{TEST[1]}", 5, 0), (f"{base}{TEST[2]}", 7, 2)]
    assert splits.name == "p_dukemtmc"
    assert splits.ignore_same_camera
    assert splits.separate_test_ids
    assert "withdrawn" in splits.notes[0]


def test_training_folders_by_occlusion_are_one_split(tmp_path, make_files, facts):
    make_files(
        "train/whole_body_images/0001/0001_c3_f0046183.jpg",
        "train/occluded_body_images/0001/0001_c2_f0046182.jpg",
        *TEST,
        folder="P-DukeMTMC-reid",
    )
    assert facts(read_p_dukemtmc(tmp_path).train) == [
        ("P-DukeMTMC-reid/train/occluded_body_images/0001/0001_c2_f0046182.jpg", 1, 1),
        ("P-DukeMTMC-reid/train/whole_body_images/0001/0001_c3_f0046183.jpg", 1, 2),
    ]


@pytest.mark.parametrize(
    "name",
    [
        "0001/0001_f0046182.jpg",  # no camera
        "0001/0001_c9_f0046182.jpg",  # Duke has 8
        "0001/0001_c12_f0046182.jpg",
        "0001_c2_f0046182.jpg",  # no folder of an identity
        "someone/0001_c2_f0046182.jpg",
    ],
)
def test_unreadable_name_is_an_error_naming_the_file(tmp_path, make_files, name):
    make_files(f"train/{name}", *TEST)
    with pytest.raises(ValueError, match=f"p_dukemtmc: cannot read .*train/{name}: expected") as e:
        read_p_dukemtmc(tmp_path)
    assert "0001/0001_c2_f0046182.jpg (folder: identity; c1-c8: camera)" in str(e.value)


def test_missing_tree_names_every_path(tmp_path, make_files):
    make_files("P-DukeMTMC-reid/train/0001/0001_c2_f0046182.jpg")
    with pytest.raises(FileNotFoundError) as error:
        read_p_dukemtmc(tmp_path)
    text = str(error.value)
    lacks = "lacks test/occluded_body_images, test/whole_body_images"
    assert f"{tmp_path}/P-DukeMTMC-reid  ({lacks})" in text
    for folder in ("p_dukemtmc/P-DukeMTMC-reid", "P-DukeMTMC", "p-dukemtmc-reid", "p_dukemtmc"):
        assert f"{tmp_path}/{folder}  (no such folder)" in text
    assert f"{tmp_path}  (lacks train, test/occluded_body_images" in text
    assert "DATASETS.ROOT_DIR" in text


def test_empty_folder_is_an_error(tmp_path, make_files):
    make_files(*TEST, "train/readme.txt")
    with pytest.raises(FileNotFoundError, match=r"p_dukemtmc: no images in .*train"):
        read_p_dukemtmc(tmp_path)

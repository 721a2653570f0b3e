"""GRID: the published splits, and identity 0 in every gallery."""

import numpy as np
import pytest
from scipy.io import savemat

from datasets.readers.grid import SPLITS_FILE, read_grid


def cells(values):
    """A 1 x n MATLAB cell array."""
    array = np.empty((1, len(values)), dtype=object)
    for index, value in enumerate(values):
        array[0, index] = value
    return array


@pytest.fixture
def make_tree(tmp_path, make_files):
    """Two images per identity and some of identity 0; `splits` become the content of the file."""

    def make(splits, identities=4, background=2, folder="grid/underground_reid", mat="."):
        pids = range(1, identities + 1)
        make_files(*(f"probe/{pid:04}_{pid % 8 + 1}_2_3.jpeg" for pid in pids), folder=folder)
        make_files(*(f"gallery/{pid:04}_8_2_3.jpeg" for pid in pids), folder=folder)
        numbers = range(background)
        make_files(*(f"gallery/0000_{n % 8 + 1}_{n}_3.jpeg" for n in numbers), folder=folder)
        savemat(tmp_path / folder / mat / SPLITS_FILE, {"trainIdxAll": splits, "features": [[1]]})

    return make


def draw_ids(rng):
    return np.sort(rng.permutation(250)[:125]) + 1


@pytest.mark.parametrize("form", ["structs in cells", "struct array", "cells", "twice", "indices"])
def test_every_split_has_125_queries_and_900_gallery_images(tmp_path, make_tree, facts, form):
    rng = np.random.default_rng(0)
    lists = [draw_ids(rng) for _ in range(10)]
    if form == "structs in cells":
        content = cells([{"note": "train", "ids": ids.astype(float)} for ids in lists])
    elif form == "struct array":
        content = np.empty((1, 10), dtype=[("gallery", object), ("probe", object)])
        for index, ids in enumerate(lists):
            content[0, index] = (ids.astype(np.uint8)[:, None], ids[None])
    elif form == "cells":
        content = cells([cells([ids]) for ids in lists])
    elif form == "twice":
        content = cells([{"all": np.concatenate([ids, ids])} for ids in lists])
    else:  # image numbers; one list could be identities
        content = cells(
            [{"a": np.arange(1, 126), "b": ids + 1025, "c": ids, "d": 0.5} for ids in lists]
        )
    make_tree(content, identities=250, background=775)
    folder = "grid/underground_reid"
    for split, ids in enumerate(lists):
        splits = read_grid(tmp_path, split)
        train = ids.tolist()
        test = [pid for pid in range(1, 251) if pid not in train]
        assert (splits.name, len(test)) == ("grid", 125)
        assert facts(splits.query) == [
            (f"{folder}/probe/{pid:04}_{pid % 8 + 1}_2_3.jpeg", pid, pid % 8) for pid in test
        ]
        assert len(splits.gallery) == 900
        assert [s.pid for s in splits.gallery] == [0] * 775 + test
        assert len(splits.train) == 250
        assert [s.pid for s in splits.train] == train * 2
        assert splits.notes == (
            f"the 10 splits published in {SPLITS_FILE}",
            "775 distractors (identity 0) in the gallery",
        )
        assert splits.distractors == {0}
        assert splits.ignore_same_camera


@pytest.mark.parametrize(
    ("folder", "mat"),
    [
        ("grid/underground_reid", "."),
        ("grid/underground_reid", ".."),
        ("underground_reid", "."),
        ("GRID/underground_reid", "."),
        ("GRID", "."),
        ("grid", "."),
        (".", "."),
    ],
)
def test_file_names_give_pids_and_cameras(tmp_path, make_tree, make_files, facts, folder, mat):
    make_tree(cells([[2, 3]] * 9 + [[1, 2]]), folder=folder, mat=mat)
    make_files("probe/0000_1_9_9.jpeg", folder=folder)
    prefix = "" if folder == "." else f"{folder}/"
    splits = read_grid(tmp_path, 0)
    assert facts(splits.train) == [
        (f"{prefix}probe/0002_3_2_3.jpeg", 2, 2),
        (f"{prefix}probe/0003_4_2_3.jpeg", 3, 3),
        (f"{prefix}gallery/0002_8_2_3.jpeg", 2, 7),
        (f"{prefix}gallery/0003_8_2_3.jpeg", 3, 7),
    ]
    assert facts(splits.query) == [
        (f"{prefix}probe/0001_2_2_3.jpeg", 1, 1),
        (f"{prefix}probe/0004_5_2_3.jpeg", 4, 4),
    ]
    assert facts(splits.gallery) == [
        (f"{prefix}gallery/0000_1_0_3.jpeg", 0, 0),
        (f"{prefix}gallery/0000_2_1_3.jpeg", 0, 1),
        (f"{prefix}gallery/0001_8_2_3.jpeg", 1, 7),
        (f"{prefix}gallery/0004_8_2_3.jpeg", 4, 7),
    ]
    assert {s.pid for s in read_grid(tmp_path, 9).train} == {1, 2}


@pytest.mark.parametrize(
    ("ids", "found"),
    [
        (np.arange(1, 125), "lists of 124 numbers"),
        (np.arange(126, 252), "lists of 126 numbers"),
        (np.arange(125), "lists of 125 numbers"),  # with identity 0
        (np.arange(200, 325), "lists of 125 numbers"),
        (cells([np.arange(1, 126), np.arange(2, 127)]), "lists of 125, 125 numbers"),
        (np.full(125, 0.5), "lists of no numbers"),
    ],
)
def test_wrong_number_of_training_identities_is_an_error(tmp_path, make_tree, ids, found):
    make_tree(cells([np.arange(1, 126)] * 4 + [ids] + [np.arange(1, 126)] * 5), identities=250)
    assert len(read_grid(tmp_path, 3).query) == 125
    with pytest.raises(ValueError, match=rf"{SPLITS_FILE}: split 5 of 'trainIdxAll' should") as e:
        read_grid(tmp_path, 4)
    assert "should have one list of 125 of the 250 " in str(e.value)
    assert found in str(e.value)


def test_wrong_number_of_splits_is_an_error(tmp_path, make_tree):
    make_tree(cells([[1, 2]] * 9))
    with pytest.raises(ValueError, match="expected 10 splits in 'trainIdxAll', found 9"):
        read_grid(tmp_path)
    savemat(tmp_path / "grid/underground_reid" / SPLITS_FILE, {"other": [1]})
    with pytest.raises(ValueError, match="expected 10 splits in 'trainIdxAll', found 0"):
        read_grid(tmp_path)


@pytest.mark.parametrize("name", ["0001.jpeg", "0001_9_2_3.jpeg", "x0001_1_2_3.jpeg"])
def test_strange_name_is_an_error(tmp_path, make_tree, make_files, name):
    make_tree(cells([[1, 2]] * 10), folder=".")
    make_files(f"probe/{name}")
    with pytest.raises(ValueError, match=rf"grid: cannot read .*probe/{name}: expected.*0001_1_2"):
        read_grid(tmp_path)


def test_empty_folder_is_an_error(tmp_path, make_files):
    make_files("probe/notes.txt", "gallery/0001_1_2_3.jpeg", SPLITS_FILE)
    with pytest.raises(FileNotFoundError, match=r"grid: no images in .*probe"):
        read_grid(tmp_path)


def test_missing_splits_file_is_named(tmp_path, make_files):
    make_files("GRID/probe/0001_1_2_3.jpeg", "GRID/gallery/0001_2_2_3.jpeg")
    with pytest.raises(FileNotFoundError) as error:
        read_grid(tmp_path)
    text = str(error.value)
    assert "data set grid not found" in text
    assert f"{tmp_path}/grid/underground_reid  (no such folder)" in text
    assert f"{tmp_path}/GRID  (lacks {SPLITS_FILE} or ../{SPLITS_FILE})" in text
    assert "probe/    0001_1_25008_175_70_90_221.jpeg" in text

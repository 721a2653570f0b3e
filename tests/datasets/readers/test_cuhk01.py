"""CUHK01: training images only; the camera is in the image's number."""

import pytest

from datasets.readers.cuhk01 import read_cuhk01


@pytest.mark.parametrize("folder", ["cuhk01", "CUHK01", "."])
def test_file_names_give_pid_and_view(tmp_path, make_files, facts, folder):
    names = [f"campus/0001{image:03}.png" for image in (4, 3, 2, 1)]
    make_files(*names, "campus/0971003.png", "campus/Thumbs.db", folder=folder)
    splits = read_cuhk01(tmp_path)
    base = "campus" if folder == "." else f"{folder}/campus"
    assert splits.name == "cuhk01"
    assert facts(splits.train) == [
        (f"{base}/0001001.png", 1, 0),
        (f"{base}/0001002.png", 1, 0),
        (f"{base}/0001003.png", 1, 1),
        (f"{base}/0001004.png", 1, 1),
        (f"{base}/0971003.png", 971, 1),
    ]
    assert (splits.query, splits.gallery) == ([], [])
    assert "for training only" in splits.notes[0]
    assert "overlaps CUHK02" in splits.notes[1]


def test_image_numbers_may_have_four_digits(tmp_path, make_files, facts):
    make_files("campus/00120002.png", "campus/00120003.png")
    assert facts(read_cuhk01(tmp_path).train) == [
        ("campus/00120002.png", 12, 0),
        ("campus/00120003.png", 12, 1),
    ]


@pytest.mark.parametrize("name", ["0001005.png", "0001000.png", "001001.png", "person1.png"])
def test_strange_names_are_errors(tmp_path, make_files, name):
    make_files("campus/0001001.png", f"campus/{name}")
    with pytest.raises(ValueError, match=rf"cuhk01: cannot read .*/{name}: .*like 0001001\.png"):
        read_cuhk01(tmp_path)


def test_empty_folder_is_an_error(tmp_path):
    (tmp_path / "cuhk01" / "campus").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=r"cuhk01: no images in .*campus; expected files"):
        read_cuhk01(tmp_path)


def test_missing_tree_names_every_path_and_the_remedy(tmp_path):
    (tmp_path / "CUHK01").mkdir()
    with pytest.raises(FileNotFoundError) as error:
        read_cuhk01(tmp_path)
    text = str(error.value)
    assert "data set cuhk01 not found" in text
    assert f"{tmp_path}/cuhk01  (no such folder)" in text
    assert f"{tmp_path}/CUHK01  (lacks campus)" in text
    assert f"{tmp_path}  (lacks campus)" in text
    assert "campus/  0001001.png" in text
    assert "DATASETS.ROOT_DIR" in text

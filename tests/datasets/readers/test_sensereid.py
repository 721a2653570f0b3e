"""SenseReID: for testing only, under two spellings of its folder of queries."""

import pytest

from datasets.readers.sensereid import read_sensereid

GALLERY = ("test_gallery/00001_1.jpg", "test_gallery/00522_0.jpg", "test_gallery/01716_1.jpg")


@pytest.mark.parametrize("probe", ["test_probe", "test_prob"])
@pytest.mark.parametrize("tree", ["SenseReID", "sensereid/SenseReID", "sensereid", "."])
def test_file_names_give_pids_and_cameras(tmp_path, make_files, facts, tree, probe):
    make_files(f"{probe}/00001_0.jpg", f"{probe}/00522_01.jpg", *GALLERY, folder=tree)
    splits = read_sensereid(tmp_path)
    base = "" if tree == "." else f"{tree}/"
    assert facts(splits.query) == [
        (f"{base}{probe}/00001_0.jpg", 1, 0),
        (f"{base}{probe}/00522_01.jpg", 522, 1),
    ]
    assert facts(splits.gallery) == [
        (f"{base}{name}", pid, camid)
        for name, pid, camid in zip(GALLERY, (1, 522, 1716), (1, 0, 1), strict=True)
    ]
    assert (splits.name, splits.train, splits.distractors) == ("sensereid", [], frozenset())
    assert splits.ignore_same_camera
    assert splits.notes == ("for testing only",)


@pytest.mark.parametrize("name", ["00001.jpg", "00001_a.jpg", "x_00001_0.jpg", "00001_0_2.jpg"])
def test_strange_name_is_an_error_naming_the_file(tmp_path, make_files, name):
    make_files(f"test_probe/{name}", *GALLERY)
    with pytest.raises(ValueError, match=f"sensereid: cannot read .*{name}: .*00001_0.jpg"):
        read_sensereid(tmp_path)


def test_missing_tree_names_every_path(tmp_path, make_files):
    make_files("SenseReID/test_gallery/00001_1.jpg")
    with pytest.raises(FileNotFoundError) as error:
        read_sensereid(tmp_path)
    text = str(error.value)
    assert f"{tmp_path}/SenseReID  (lacks test_probe or test_prob)" in text
    assert f"{tmp_path}/sensereid/SenseReID  (no such folder)" in text
    assert f"{tmp_path}/sensereid  (no such folder)" in text
    assert f"{tmp_path}  (lacks test_probe or test_prob, test_gallery)" in text
    assert "test_probe/     00001_0.jpg ...   (or test_prob/)" in text


def test_empty_gallery_is_an_error(tmp_path, make_files):
    make_files("test_probe/00001_0.jpg", "test_gallery/list.txt")
    with pytest.raises(FileNotFoundError, match=r"sensereid: no images in .*test_gallery"):
        read_sensereid(tmp_path)

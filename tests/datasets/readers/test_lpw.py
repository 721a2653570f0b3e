"""LPW: identities and cameras of three scenes that all count from the start."""

import pytest

from datasets.readers.lpw import read_lpw

IMAGES = (
    "scen1/view1/1/0001.jpg",
    "scen1/view3/1/0001.jpg",
    "scen2/view1/1/0001.jpg",
    "scen3/view1/17/0002.jpg",
    "scen3/view10/1/0001.jpg",
    "scen3/view2/1/0001.jpg",
)
SLIM = "pep_256x128/data_slim"


@pytest.mark.parametrize("tree", [SLIM, f"lpw/{SLIM}", f"LPW/{SLIM}", "lpw", "."])
def test_scenes_share_no_pid_or_camera(tmp_path, make_files, facts, tree):
    make_files(*IMAGES, folder=tree)
    splits = read_lpw(tmp_path)
    base = "" if tree == "." else f"{tree}/"
    pids = (100_001, 100_001, 200_001, 300_017, 300_001, 300_001)
    cameras = (0, 1, 2, 3, 5, 4)  # view 10 comes after view 2
    assert facts(splits.train) == [
        (f"{base}{name}", pid, camid)
        for name, pid, camid in zip(IMAGES, pids, cameras, strict=True)
    ]
    assert (splits.name, splits.query, splits.gallery) == ("lpw", [], [])
    assert splits.notes == ("for training only",)


@pytest.mark.parametrize(
    "name", ["scen2/1/0001.jpg", "scen2/view1/0001.jpg", "scen2/view1/123456/0001.jpg"]
)
def test_strange_path_is_an_error_naming_the_file(tmp_path, make_files, name):
    make_files(*IMAGES, name)
    with pytest.raises(ValueError, match=f"lpw: cannot read .*/{name}: .*scen1/view1/17/0001"):
        read_lpw(tmp_path)


def test_missing_tree_names_every_path(tmp_path, make_files):
    make_files(*IMAGES[:2], folder=SLIM)
    with pytest.raises(FileNotFoundError) as error:
        read_lpw(tmp_path)
    text = str(error.value)
    assert f"{tmp_path}/{SLIM}  (lacks scen2, scen3)" in text
    for folder in (f"lpw/{SLIM}", f"LPW/{SLIM}", "lpw", "LPW"):
        assert f"{tmp_path}/{folder}  (no such folder)" in text
    assert f"{tmp_path}  (lacks scen1, scen2, scen3)" in text
    assert "scen1/   view1/17/0001.jpg" in text


def test_empty_scene_is_an_error(tmp_path, make_files):
    make_files(*IMAGES[:2], *IMAGES[3:], "scen2/view1/list.txt")
    with pytest.raises(FileNotFoundError, match=r"lpw: no images in .*scen2"):
        read_lpw(tmp_path)

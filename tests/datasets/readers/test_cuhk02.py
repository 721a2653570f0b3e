"""CUHK02: every pair of cameras counts its identities from 1."""

import pytest

from datasets.readers.cuhk02 import read_cuhk02

IMAGES = (
    *(f"P{pair}/{side}/001_01.png" for pair in range(1, 6) for side in ("cam1", "cam2")),
    "P1/cam1/971_02.png",
    "P1/cam1/Thumbs.db",
)


@pytest.mark.parametrize(
    "folder", ["cuhk02", "cuhk02/Dataset", "CUHK02", "CUHK02/Dataset", "Dataset", "."]
)
def test_camera_pairs_share_no_pid_or_camera(tmp_path, make_files, facts, folder):
    make_files(*IMAGES, folder=folder)
    splits = read_cuhk02(tmp_path)
    base = "" if folder == "." else f"{folder}/"
    assert splits.name == "cuhk02"
    assert facts(splits.train) == [
        (f"{base}P1/cam1/001_01.png", 10_001, 0),
        (f"{base}P1/cam1/971_02.png", 10_971, 0),
        (f"{base}P1/cam2/001_01.png", 10_001, 1),
        (f"{base}P2/cam1/001_01.png", 20_001, 2),
        (f"{base}P2/cam2/001_01.png", 20_001, 3),
        (f"{base}P3/cam1/001_01.png", 30_001, 4),
        (f"{base}P3/cam2/001_01.png", 30_001, 5),
        (f"{base}P4/cam1/001_01.png", 40_001, 6),
        (f"{base}P4/cam2/001_01.png", 40_001, 7),
    ]
    assert facts(splits.query) == [(f"{base}P5/cam1/001_01.png", 50_001, 8)]
    assert facts(splits.gallery) == [(f"{base}P5/cam2/001_01.png", 50_001, 9)]
    assert splits.ignore_same_camera
    assert not splits.separate_test_ids
    assert "P1 to P4" in splits.notes[0]
    assert "overlaps CUHK01" in splits.notes[1]


@pytest.mark.parametrize("name", ["001.png", "p001_01.png", "12345_01.png"])
def test_strange_names_are_errors(tmp_path, make_files, name):
    make_files(*IMAGES, f"P3/cam2/{name}")
    with pytest.raises(ValueError, match=rf"cuhk02: cannot read .*/P3/cam2/{name}: .*001_01\.png"):
        read_cuhk02(tmp_path)


def test_empty_side_is_an_error(tmp_path, make_files):
    make_files(*IMAGES)
    (tmp_path / "P4" / "cam2" / "001_01.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"cuhk02: no images in .*P4/cam2; expected files"):
        read_cuhk02(tmp_path)


def test_missing_pair_is_named(tmp_path, make_files):
    make_files(*IMAGES[:8], folder="cuhk02")
    with pytest.raises(FileNotFoundError) as error:
        read_cuhk02(tmp_path)
    text = str(error.value)
    assert f"{tmp_path}/cuhk02  (lacks P5/cam1, P5/cam2)" in text
    assert f"{tmp_path}/cuhk02/Dataset  (no such folder)" in text
    assert f"{tmp_path}/CUHK02/Dataset  (no such folder)" in text
    assert f"{tmp_path}  (lacks P1/cam1, P1/cam2" in text
    assert "P1/cam1/      001_01.png" in text
    assert "REID_DATA" in text

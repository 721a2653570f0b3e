"""Trees of folders as people have them: splits, depth, links, special identities, cameras."""

import logging
import os
from pathlib import Path

import pytest

from datasets.own.cameras import find_camera
from datasets.own.folder import read_own_data
from datasets.own.table import read_csv


def make_files(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def identities(samples):
    return sorted({sample.identity for sample in samples})


def test_probe_means_query_and_validation_is_named_and_left_out(tmp_path, caplog):
    for split in ("train", "val", "test", "probe"):
        make_files(tmp_path, *(f"{split}/{split[0]}{i}/{j}.jpg" for i in range(2) for j in "ab"))
    make_files(tmp_path, "probe/t0/q.jpg")
    splits = read_own_data(tmp_path)
    assert identities(splits.train) == ["t0", "t1"]
    assert identities(splits.query) == ["p0", "p1", "t0"]
    assert identities(splits.gallery) == ["t0", "t1"]
    assert "left out val/ with 4 images" in caplog.text


def test_layumis_layout_leaves_junk_out_and_never_trains_on_distractors(tmp_path):
    parts = ("train", "val", "train_all", "query", "gallery", "multi-query")
    for part in parts:
        people = ("0002", "0003") if part.startswith(("train", "val")) else ("0005", "0006")
        make_files(tmp_path, *(f"{part}/{pid}/{pid}_c{i}.jpg" for pid in people for i in (1, 2)))
    make_files(tmp_path, "gallery/-1/-1_c1.jpg", "gallery/0000/0000_c1.jpg", "train/0000/x_c3.jpg")
    splits = read_own_data(tmp_path)
    assert identities(splits.train) == ["0002", "0003"]
    assert identities(splits.query) == ["0005", "0006"]
    assert identities(splits.gallery) == ["0000", "0005", "0006"]
    assert {x.identity for x in splits.gallery if x.pid in splits.distractors} == {"0000"}
    assert "1 images of identity -1 left out: junk" in splits.notes
    assert "1 gallery images of identity 0: distractors" in splits.notes


def test_distractors_of_a_drawn_split_are_gallery_images(tmp_path):
    rows = [f"{pid}{i}.jpg,{pid}" for pid in "abcdef" for i in range(3)] + ["00.jpg,0", "01.jpg,-1"]
    make_files(tmp_path, *(row.partition(",")[0] for row in rows))
    (tmp_path / "all.csv").write_text("\n".join(["path,pid", *rows]))
    splits = read_csv(tmp_path / "all.csv")
    assert "0" not in identities(splits.train + splits.query)
    assert [x.identity for x in splits.gallery if x.pid in splits.distractors] == ["0"]
    assert "-1" not in identities(splits.train + splits.query + splits.gallery)
    (tmp_path / "junk.csv").write_text("path,pid\n00.jpg,-1\n")
    with pytest.raises(ValueError, match="own data junk: all 1 images are junk"):
        read_csv(tmp_path / "junk.csv")


@pytest.mark.parametrize(
    ("form", "holds"),
    [
        ("day{a}/id{b}/{i}.jpg", "day0 should be an identity, but it holds only folders"),
        ("images/id{b}/{i}_{a}.jpg", "images should be an identity"),
        ("cam0{a}/id{b}/{i}.jpg", "cam00 should be an identity"),
    ],
)
def test_identities_one_level_too_deep_are_an_error_that_says_so(tmp_path, form, holds):
    make_files(tmp_path, *(form.format(a=a, b=b, i=i) for a in "01" for b in "0123" for i in "01"))
    with pytest.raises(ValueError, match=holds) as error:
        read_own_data(tmp_path)
    assert "(4: id0, id1, id2, ...)" in str(error.value)
    assert "the first image is " in str(error.value)


def test_unlabelled_images_may_lie_in_folders_of_cameras(tmp_path):
    make_files(tmp_path, *(f"train/unknown/cam{c}/{i}.jpg" for c in "12" for i in range(3)))
    assert len(read_own_data(tmp_path).train) == 6


def test_links_are_followed_and_loops_are_found(tmp_path, caplog):
    real, tree = tmp_path / "real", tmp_path / "tree"
    make_files(real, *(f"{pid}/{i}.jpg" for pid in "abcd" for i in range(3)), "more/9.jpg")
    tree.mkdir()
    for pid in "abc":
        (tree / pid).symlink_to(real / pid, target_is_directory=True)
    make_files(tree, "d/1.jpg")
    (tree / "d" / "more").symlink_to(real / "more", target_is_directory=True)
    (tree / "d" / "2.jpg").symlink_to(real / "d" / "2.jpg")
    (tree / "d" / "up").symlink_to(tree / "d", target_is_directory=True)
    splits = read_own_data(tree, tested_only=True)
    paths = [Path(x.path).relative_to(tree).as_posix() for x in splits.query + splits.gallery]
    assert sorted(x for x in paths if x.startswith("d")) == ["d/1.jpg", "d/2.jpg", "d/more/9.jpg"]
    assert len(paths) == 12
    assert f"{tree / 'd' / 'up'} is a link to a folder around it" in caplog.text


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="no links")
def test_linked_parts_of_the_market_layout_are_read(tmp_path):
    for part, name in (("bounding_box_train", "0002"), ("query", "0003")):
        make_files(tmp_path / "real", f"{part}/{name}_c1s1_000001_00.jpg")
    make_files(tmp_path / "tree", "bounding_box_test/0003_c2s1_000001_00.jpg")
    for part in ("bounding_box_train", "query"):
        (tmp_path / "tree" / part).symlink_to(tmp_path / "real" / part, target_is_directory=True)
    splits = read_own_data(tmp_path / "tree")
    assert [len(x) for x in (splits.train, splits.query, splits.gallery)] == [1, 1, 1]


@pytest.mark.parametrize(
    ("name", "camera"),
    [
        ("0007_c2_001", "2"),
        ("0002_c1s1_000451_03", "1"),
        ("0001_c2_f0046182", "2"),
        ("0001_c001_00016450_0", "1"),
        ("door-cam2", "2"),
        ("camera1", "1"),
        ("cam-1", "1"),
        ("Camera 03 x", "3"),
        ("c5", "5"),
        ("0001C1T0001F001", "1"),
        ("0065C6T0013F064", "6"),
        ("webcam00001", ""),
        ("img_c7f3a9", ""),
        ("abc3", ""),
        ("car12", ""),
        ("photo", ""),
    ],
)
def test_cameras_in_file_names(name, camera):
    assert find_camera(Path(f"{name}.jpg")) == camera


def read_images(tmp_path, form):
    names = [form.format(pid=pid, i=i, n=6 * pid + i) for pid in range(6) for i in range(6)]
    make_files(tmp_path, *(f"id{n // 6}/{name}" for n, name in enumerate(names)))
    return read_own_data(tmp_path, tested_only=True)


@pytest.mark.parametrize(
    ("form", "reason"),
    [
        ("video_c{n}.jpg", "there would be 36 cameras for 36 images"),
        ("{i}_c{pid}.jpg", "each camera would show a single identity"),
    ],
)
def test_numbers_that_are_no_cameras_are_doubted(tmp_path, caplog, form, reason):
    splits = read_images(tmp_path, form)
    assert not splits.ignore_same_camera
    assert {x.camera for x in splits.query} == {""}
    assert f"are not taken as cameras: {reason}" in caplog.text


def test_layout_understood_is_logged_in_one_line(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        splits = read_images(tmp_path, "{n}_c{i}.jpg")
    assert splits.ignore_same_camera
    assert "6 identities, 36 images, 6 cameras from file names" in caplog.text


def test_identities_numbered_from_0_are_identities(tmp_path):
    rows = [f"{pid}{i}.jpg,{pid}" for pid in range(6) for i in range(3)]
    make_files(tmp_path, *(row.partition(",")[0] for row in rows))
    (tmp_path / "all.csv").write_text("\n".join(["path,pid", *rows]))
    splits = read_csv(tmp_path / "all.csv", tested_only=True)
    assert identities(splits.query) == list("012345")
    assert not splits.distractors
    (tmp_path / "gap.csv").write_text("\n".join(["path,pid", *rows[:3], *rows[6:]]))
    splits = read_csv(tmp_path / "gap.csv", tested_only=True)
    assert identities(splits.query) == list("2345")

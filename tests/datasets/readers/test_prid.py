"""PRID2011: only numbers 1..200 are the same person in both cameras."""

import pytest

from datasets.readers.prid import FROZEN, read_prid


@pytest.fixture
def make_full(make_files):
    def make(folder="prid_2011/single_shot"):
        for view, last in (("cam_a", 385), ("cam_b", 749)):
            names = (f"{view}/person_{pid:04}.png" for pid in range(1, last + 1))
            make_files(*names, folder=folder)

    return make


def test_every_split_has_100_queries_and_649_gallery_images(tmp_path, make_full, facts):
    make_full()
    folder = "prid_2011/single_shot"
    for split, test in enumerate(FROZEN.load()):
        splits = read_prid(tmp_path, split)
        train = [pid for pid in range(1, 201) if pid not in test]
        in_gallery = test + list(range(201, 750))
        assert (splits.name, len(train), len(test), len(in_gallery)) == ("prid", 100, 100, 649)
        assert facts(splits.train) == [
            (f"{folder}/{view}/person_{pid:04}.png", pid, camid)
            for camid, view in enumerate(["cam_a", "cam_b"])
            for pid in train
        ]
        assert facts(splits.query) == [
            (f"{folder}/cam_a/person_{pid:04}.png", pid, 0) for pid in test
        ]
        assert facts(splits.gallery) == [
            (f"{folder}/cam_b/person_{pid:04}.png", pid, 1) for pid in in_gallery
        ]
        assert splits.notes == (
            FROZEN.note,
            "549 distractors in the gallery, seen by camera b only",
        )
        assert splits.ignore_same_camera
        assert not splits.distractors


@pytest.mark.parametrize(
    "folder",
    [
        "prid_2011/prid_2011/single_shot",
        "prid_2011/single_shot",
        "prid2011/prid_2011/single_shot",
        "prid2011/single_shot",
        "prid/single_shot",
        "PRID/single_shot",
        "single_shot",
        ".",
    ],
)
def test_persons_seen_by_one_camera_are_in_the_gallery_only(tmp_path, make_files, facts, folder):
    test, train = FROZEN.load()[0][0], 1
    assert train not in FROZEN.load()[0]
    pids = (train, test, 201)
    make_files(*(f"cam_a/person_{pid:04}.png" for pid in pids), folder=folder)
    make_files(*(f"cam_b/person_{pid:04}.png" for pid in pids), folder=folder)
    splits = read_prid(tmp_path, 0)
    prefix = "" if folder == "." else f"{folder}/"
    assert facts(splits.train) == [
        (f"{prefix}cam_a/person_0001.png", 1, 0),
        (f"{prefix}cam_b/person_0001.png", 1, 1),
    ]
    assert facts(splits.query) == [(f"{prefix}cam_a/person_{test:04}.png", test, 0)]
    assert facts(splits.gallery) == [
        (f"{prefix}cam_b/person_{test:04}.png", test, 1),
        (f"{prefix}cam_b/person_0201.png", 201, 1),
    ]


@pytest.mark.parametrize("name", ["0001.png", "person_0000.png", "person_0001_2.png"])
def test_strange_name_is_an_error(tmp_path, make_files, name):
    make_files("cam_a/person_0001.png", f"cam_b/{name}")
    with pytest.raises(ValueError, match=rf"prid: cannot read .*{name}: expected.*person_0001\.p"):
        read_prid(tmp_path)


def test_empty_folder_is_an_error(tmp_path, make_files):
    make_files("cam_a/person_0001.png", "cam_b/readme.txt")
    with pytest.raises(FileNotFoundError, match=r"prid: no images in .*cam_b"):
        read_prid(tmp_path)


def test_missing_tree_names_every_path(tmp_path, make_files):
    make_files("prid_2011/multi_shot/cam_a/person_0001/0001.png")
    with pytest.raises(FileNotFoundError) as error:
        read_prid(tmp_path)
    text = str(error.value)
    assert "data set prid not found" in text
    assert f"{tmp_path}/prid_2011/prid_2011/single_shot  (no such folder)" in text
    assert f"{tmp_path}/PRID/single_shot  (no such folder)" in text
    assert f"{tmp_path}  (lacks cam_a, cam_b)" in text
    assert "person_0749.png" in text

"""MSMT17 renamed and sorted into the folders of Market-1501."""

import logging

import pytest

from datasets.readers.msmt17 import read_msmt17, read_msmt17_train

MARKET_LAYOUT = (
    "bounding_box_train/0000_c1_0000.jpg",
    "bounding_box_train/0001_c15_0007.jpg",
    "query/0000_c6_0001.jpg",
    "bounding_box_test/0000_c14_0002.jpg",
    "bounding_box_test/3059_c2_0003.jpg",
)


@pytest.mark.parametrize(
    ("folder", "version"),
    [
        ("MSMT17", "version unknown"),
        ("MSMT17_V1", "version 1"),
        ("MSMT17_V2", "version 2 (faces blurred)"),
        ("msmt17/MSMT17_V1", "version 1"),
        ("msmt17", "version unknown"),
    ],
)
def test_market_layout_notes_the_version(tmp_path, caplog, make_files, facts, folder, version):
    make_files(*MARKET_LAYOUT, folder=folder)
    with caplog.at_level(logging.WARNING):
        splits = read_msmt17(tmp_path)
    assert splits.name == "msmt17"
    assert facts(splits.train) == [
        (f"{folder}/bounding_box_train/0000_c1_0000.jpg", 0, 0),
        (f"{folder}/bounding_box_train/0001_c15_0007.jpg", 1, 14),
    ]
    assert facts(splits.query) == [(f"{folder}/query/0000_c6_0001.jpg", 0, 5)]
    assert facts(splits.gallery) == [
        (f"{folder}/bounding_box_test/0000_c14_0002.jpg", 0, 13),
        (f"{folder}/bounding_box_test/3059_c2_0003.jpg", 3059, 1),
    ]
    assert splits.notes[0].startswith(f"MSMT17 {version}")
    assert ("version 2" in caplog.text) == (folder == "MSMT17_V2")


def test_market_layout_may_be_the_data_root(tmp_path, make_files):
    make_files(*MARKET_LAYOUT, folder="MSMT17_V1")
    splits = read_msmt17(tmp_path / "MSMT17_V1")
    assert len(splits.gallery) == 2
    assert splits.notes == ("MSMT17 version 1",)


def test_market_layout_has_identity_0_and_separate_test_ids(tmp_path, make_files):
    make_files(*MARKET_LAYOUT)
    splits = read_msmt17(tmp_path)
    assert splits.distractors == frozenset()
    assert splits.separate_test_ids


def test_lists_come_before_the_market_layout(tmp_path, make_files, facts):
    make_files(*MARKET_LAYOUT, folder="MSMT17")
    train, test = "0000/0000_000_01_x.jpg", "0000/0000_000_02_x.jpg"
    make_files(f"train/{train}", f"test/{test}", folder="MSMT17_V1")
    for part, image in (("train", train), ("query", test), ("gallery", test)):
        (tmp_path / "MSMT17_V1" / f"list_{part}.txt").write_text(f"{image} 0")
    assert facts(read_msmt17(tmp_path).train) == [(f"MSMT17_V1/train/{train}", 0, 0)]


def test_missing_tree_names_the_paths_of_both_layouts(tmp_path, make_files):
    make_files("MSMT17/list_query.txt", "MSMT17/query/0000_c6_0001.jpg")
    with pytest.raises(FileNotFoundError) as error:
        read_msmt17(tmp_path)
    text = str(error.value)
    assert "data set msmt17 not found" in text
    assert "MSMT17  (lacks train or mask_train_v2, test or mask_test_v2, list_train.txt" in text
    assert f"{tmp_path}/MSMT17  (lacks bounding_box_train, bounding_box_test)" in text
    assert text.count(f"{tmp_path}/MSMT17_V2  (no such folder)") == 2
    assert 'list_train.txt   lines "path identity"' in text
    assert "bounding_box_train/  0000_c1_0000.jpg" in text
    assert "REID_DATA" in text


def test_strange_name_in_the_market_layout_is_an_error(tmp_path, make_files):
    make_files(*MARKET_LAYOUT, "query/0000_000_06_0303morning.jpg")
    with pytest.raises(ValueError, match=r"msmt17: cannot read .*query/0000_000_06_0303morning"):
        read_msmt17(tmp_path)


def test_empty_folder_in_the_market_layout_is_an_error(tmp_path, make_files):
    make_files(*MARKET_LAYOUT)
    (tmp_path / "query" / "0000_c6_0001.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"msmt17: no images in .*query"):
        read_msmt17(tmp_path)


def test_training_split_without_list_val_is_a_data_set_of_its_own(tmp_path, make_files):
    names = [f"{pid:04}/{pid:04}_000_01_x_{pid}_0.jpg" for pid in range(4)]
    make_files(*(f"{part}/{name}" for part in ("train", "test") for name in names), folder="MSMT17")
    lists = {"train": names[:2], "val": names[2:], "query": names[:1], "gallery": names}
    for name, own in lists.items():
        text = "".join(f"{image} {int(image[:4])}\n" for image in own)
        (tmp_path / "MSMT17" / f"list_{name}.txt").write_text(text)
    both, one = read_msmt17(tmp_path), read_msmt17_train(tmp_path)
    assert (both.name, one.name) == ("msmt17", "msmt17_train")
    assert (len(both.train), len(one.train)) == (4, 2)
    assert one.train == both.train[:2]
    assert (one.query, one.gallery) == (both.query, both.gallery)
    assert both.notes[1] == "list_train.txt and list_val.txt are for training"
    assert one.notes[1] == "list_train.txt alone is for training"


def test_training_split_without_list_val_needs_the_lists(tmp_path, make_files):
    make_files(*MARKET_LAYOUT, folder="MSMT17")
    with pytest.raises(FileNotFoundError, match=r"list_train\.txt"):
        read_msmt17_train(tmp_path)

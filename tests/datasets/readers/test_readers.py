"""Each reader on a small tree of empty files: readers never open an image."""

import logging
from pathlib import Path

import pytest

from datasets.readers.dukemtmc import read_dukemtmc
from datasets.readers.market1501 import read_market1501
from datasets.readers.msmt17 import read_msmt17
from datasets.readers.occ_duke import read_occ_duke
from datasets.readers.vehicleid import NUM_TRIALS, draw_trial, read_vehicleid
from datasets.readers.veri import read_veri
from datasets.records import Sample


def make_files(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def make_lists(folder, **lists):
    folder.mkdir(parents=True, exist_ok=True)
    for name, lines in lists.items():
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n")


def make_market(tree):
    make_files(
        tree,
        "bounding_box_train/0002_c1s1_000451_03.jpg",
        "bounding_box_train/0007_c6s3_000001_01.jpg",
        "bounding_box_train/Thumbs.db",
        "bounding_box_train/._0002_c1s1_000451_03.jpg",
        "query/0001_c1s1_001051_00.jpg",
        "bounding_box_test/-1_c3s2_000001_00.jpg",
        "bounding_box_test/0000_c1s1_000151_01.jpg",
        "bounding_box_test/0001_c2s1_001976_01.JPG",
    )


def facts(samples):
    return [(Path(s.path).name, s.pid, s.camid, s.viewid) for s in samples]


@pytest.mark.parametrize(
    "folder",
    [
        "Market-1501-v15.09.15",
        "market1501/Market-1501-v15.09.15",
        "Market-1501",
        "market1501",
        ".",
    ],
)
def test_market_drops_junk_and_keeps_distractors(tmp_path, folder):
    make_market(tmp_path / folder)
    splits = read_market1501(tmp_path)
    assert splits.name == "market1501"
    assert splits.ignore_same_camera
    assert facts(splits.train) == [
        ("0002_c1s1_000451_03.jpg", 2, 0, 0),
        ("0007_c6s3_000001_01.jpg", 7, 5, 0),
    ]
    assert splits.train[0].path == str(
        tmp_path / folder / "bounding_box_train" / "0002_c1s1_000451_03.jpg"
    )
    assert facts(splits.query) == [("0001_c1s1_001051_00.jpg", 1, 0, 0)]
    assert facts(splits.gallery) == [
        ("0000_c1s1_000151_01.jpg", 0, 0, 0),
        ("0001_c2s1_001976_01.JPG", 1, 1, 0),
    ]


def test_market_missing_tree_names_every_path_and_the_remedy(tmp_path):
    make_files(tmp_path, "Market-1501/query/0001_c1s1_001051_00.jpg")
    with pytest.raises(FileNotFoundError) as error:
        read_market1501(tmp_path)
    text = str(error.value)
    assert "data set market1501 not found" in text
    assert f"{tmp_path}/Market-1501-v15.09.15  (no such folder)" in text
    assert f"{tmp_path}/Market-1501  (lacks bounding_box_train, bounding_box_test)" in text
    assert f"{tmp_path}/market1501  (no such folder)" in text
    assert f"  {tmp_path}  (lacks" in text
    assert "bounding_box_train/  0002_c1s1_000451_03.jpg" in text
    assert "DATASETS.ROOT_DIR" in text
    assert "REID_DATA" in text


def test_market_empty_folder_is_an_error(tmp_path):
    make_market(tmp_path)
    (tmp_path / "query" / "0001_c1s1_001051_00.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"market1501: no images in .*query"):
        read_market1501(tmp_path)


@pytest.mark.parametrize("name", ["person7.jpg", "0001_s1_c2.jpg", "0001_c0s1_000001_00.jpg"])
def test_market_strange_file_name_is_an_error_naming_the_file(tmp_path, name):
    make_market(tmp_path)
    make_files(tmp_path / "query", name)
    with pytest.raises(ValueError, match=f"market1501: cannot read .*query/{name}"):
        read_market1501(tmp_path)


@pytest.mark.parametrize(
    ("read", "folder"),
    [
        (read_dukemtmc, "dukemtmcreid/DukeMTMC-reID"),
        (read_dukemtmc, "DukeMTMC-reID"),
        (read_dukemtmc, "dukemtmc-reid"),
        (read_dukemtmc, "."),
        (read_occ_duke, "dukemtmcreid/Occluded_Duke"),
        (read_occ_duke, "Occluded_Duke"),
        (read_occ_duke, "."),
    ],
)
def test_duke_and_occluded_duke_share_a_layout(tmp_path, read, folder):
    make_files(
        tmp_path / folder,
        "bounding_box_train/0001_c2_f0046182.jpg",
        "query/0005_c8_f0046985.jpg",
        "bounding_box_test/0005_c1_f0044158.jpg",
    )
    splits = read(tmp_path)
    assert splits.name == ("dukemtmc" if read is read_dukemtmc else "occ_duke")
    assert facts(splits.train) == [("0001_c2_f0046182.jpg", 1, 1, 0)]
    assert facts(splits.query) == [("0005_c8_f0046985.jpg", 5, 7, 0)]
    assert facts(splits.gallery) == [("0005_c1_f0044158.jpg", 5, 0, 0)]
    assert "withdrawn" in splits.notes[0]


def test_duke_is_not_read_from_the_occluded_folder(tmp_path):
    make_market(tmp_path / "dukemtmcreid" / "Occluded_Duke")
    with pytest.raises(FileNotFoundError, match="dukemtmc not found"):
        read_dukemtmc(tmp_path)


def make_msmt(tree, train="train", test="test"):
    images = {
        "list_train": ["0000/0000_000_01_0303morning_0008_0.jpg 0"],
        "list_val": ["0001/0001_003_15_0303noon_0010_1_ex.jpg 1", ""],
        "list_query": ["0000/0000_002_06_0303morning_0013_1.jpg 0"],
        "list_gallery": [
            "0000/0000_005_14_0303afternoon_0020_2.jpg 0",
            "0003/0003_006_02_0303afternoon_0021_0.jpg 3",
        ],
    }
    for name, lines in images.items():
        folder = tree / (train if name in ("list_train", "list_val") else test)
        make_files(folder, *(line.split(" ")[0] for line in lines if line))
    make_lists(tree, **images)


@pytest.mark.parametrize(
    ("folder", "train", "test", "version"),
    [
        ("MSMT17", "train", "test", 1),
        ("MSMT17_V1", "train", "test", 1),
        (".", "train", "test", 1),
        ("MSMT17_V2", "mask_train_v2", "mask_test_v2", 2),
        ("MSMT17_V2", "train", "test", 2),
        ("MSMT17", "mask_train_v2", "mask_test_v2", 2),
    ],
)
def test_msmt17_version_is_noted(tmp_path, caplog, folder, train, test, version):
    root = tmp_path / "data"
    make_msmt(root / folder, train, test)
    with caplog.at_level(logging.WARNING):
        splits = read_msmt17(root)
    assert f"version {version}" in splits.notes[0]
    assert ("version 2" in caplog.text) == (version == 2)
    assert facts(splits.train) == [
        ("0000_000_01_0303morning_0008_0.jpg", 0, 0, 0),
        ("0001_003_15_0303noon_0010_1_ex.jpg", 1, 14, 0),
    ]
    assert splits.train[0].path == str(
        root / folder / train / "0000" / "0000_000_01_0303morning_0008_0.jpg"
    )
    assert facts(splits.query) == [("0000_002_06_0303morning_0013_1.jpg", 0, 5, 0)]
    assert [(s.pid, s.camid) for s in splits.gallery] == [(0, 13), (3, 1)]
    assert Path(splits.gallery[0].path).parent.parent == root / folder / test


def test_msmt17_notes_a_missing_list_val(tmp_path):
    make_msmt(tmp_path)
    (tmp_path / "list_val.txt").unlink()
    splits = read_msmt17(tmp_path)
    assert len(splits.train) == 1
    assert any("list_val.txt is missing" in note for note in splits.notes)


def test_msmt17_errors_name_list_and_line(tmp_path):
    make_msmt(tmp_path)
    lists = tmp_path / "list_query.txt"
    good = lists.read_text()
    lists.write_text(good + "no_identity.jpg\n")
    with pytest.raises(ValueError, match=r"list_query\.txt, line 2: expected 'image identity'"):
        read_msmt17(tmp_path)
    lists.write_text(good + "0000/0000_xx.jpg 0\n")
    with pytest.raises(ValueError, match=r"camera of '0000/0000_xx\.jpg' in .*list_query\.txt"):
        read_msmt17(tmp_path)
    lists.write_text("")
    with pytest.raises(FileNotFoundError, match="msmt17: no images"):
        read_msmt17(tmp_path)


def test_msmt17_missing_images_are_an_error(tmp_path):
    make_msmt(tmp_path)
    next((tmp_path / "train" / "0000").iterdir()).unlink()
    with pytest.raises(FileNotFoundError, match=r"msmt17: no images in .*train"):
        read_msmt17(tmp_path)


def make_veri(tree):
    make_files(
        tree,
        "image_train/0001_c001_00016450_0.jpg",
        "image_train/0003_c020_00016460_0.jpg",
        "image_query/0002_c002_00030600_0.jpg",
        "image_test/0002_c010_00028150_0.jpg",
    )


@pytest.mark.parametrize("folder", ["VeRi", "veri", "VeRi-776", "."])
def test_veri_without_annotations_has_viewpoint_0(tmp_path, folder):
    make_veri(tmp_path / folder)
    splits = read_veri(tmp_path)
    assert facts(splits.train) == [
        ("0001_c001_00016450_0.jpg", 1, 0, 0),
        ("0003_c020_00016460_0.jpg", 3, 19, 0),
    ]
    assert facts(splits.query) == [("0002_c002_00030600_0.jpg", 2, 1, 0)]
    assert facts(splits.gallery) == [("0002_c010_00028150_0.jpg", 2, 9, 0)]
    assert splits.ignore_same_camera
    assert splits.notes == ("no viewpoint labels",)


@pytest.mark.parametrize("annotations", ["VeRi", "."])
def test_veri_keeps_images_without_a_viewpoint(tmp_path, annotations):
    make_veri(tmp_path / "VeRi")
    make_lists(
        tmp_path / annotations,
        keypoint_train=["./image_train/0001_c001_00016450_0.jpg 10 20 -1 -1 7"],
        keypoint_test=["image_test\\0002_c010_00028150_0.jpg 1 2 3", ""],
    )
    splits = read_veri(tmp_path)
    assert [s.viewid for s in splits.train] == [7, -1]
    assert [s.viewid for s in splits.query] == [-1]
    assert [s.viewid for s in splits.gallery] == [3]
    assert splits.notes == ("viewpoint labels for 1 of 2 training images",)


@pytest.mark.parametrize("line", ["image_train/a.jpg 1 2 8", "image_train/a.jpg 1 2 x", "a.jpg"])
def test_veri_wrong_viewpoint_is_an_error_naming_the_line(tmp_path, line):
    make_veri(tmp_path)
    make_lists(tmp_path, keypoint_train=["0001_c001_00016450_0.jpg 1 0", line])
    with pytest.raises(ValueError, match=r"keypoint_train\.txt, line 2"):
        read_veri(tmp_path)


def make_vehicleid(tree, size=800, identities=6, images=5):
    numbers = {pid: [f"{pid * 100 + i:07}" for i in range(images)] for pid in range(identities)}
    lines = [f"{name} {pid}" for pid, names in numbers.items() for name in names]
    make_files(tree / "image", *(f"{line.split()[0]}.jpg" for line in lines), "9000000.jpg")
    lists = {"train_list": ["9000000 77"], f"test_list_{size}": lines}
    make_lists(tree / "train_test_split", **lists)


@pytest.mark.parametrize("folder", ["VehicleID_V1.0", "VehicleID", "vehicleid", "."])
@pytest.mark.parametrize("size", [800, 2400])
def test_vehicleid_gallery_is_one_image_per_identity(tmp_path, folder, size):
    make_vehicleid(tmp_path / folder, size)
    splits = read_vehicleid(tmp_path, 3, size=size)
    assert splits.name == ("VehicleID" if size == 800 else "VehicleID_2400")
    assert facts(splits.train) == [("9000000.jpg", 77, 0, 0)]
    assert [s.pid for s in splits.gallery] == [0, 1, 2, 3, 4, 5]
    assert len(splits.query) == 24
    assert not {s.path for s in splits.query} & {s.path for s in splits.gallery}
    assert not splits.ignore_same_camera
    assert {(s.camid, s.viewid) for s in splits.query} == {(0, 0)}
    assert {(s.camid, s.viewid) for s in splits.gallery} == {(1, 0)}
    rule = "one random image per identity is in the gallery, the others are queries"
    assert splits.notes == (f"10 trials: {rule}",)


def test_vehicleid_trials_differ_and_repeat(tmp_path):
    make_vehicleid(tmp_path)
    trials = [read_vehicleid(tmp_path, trial) for trial in range(NUM_TRIALS)]
    assert len({tuple(s.path for s in trial.gallery) for trial in trials}) == NUM_TRIALS
    assert read_vehicleid(tmp_path, 4) == trials[4]


def test_vehicleid_draw_does_not_depend_on_the_order():
    samples = [Sample(f"{pid}_{i}.jpg", pid, 0) for pid in range(9) for i in range(4)]
    assert draw_trial(samples, 2) == draw_trial(samples[::-1], 2)


def test_vehicleid_draw_is_pinned():
    samples = [Sample(f"{i}", pid, 0) for pid in range(4) for i in range(10)]
    _, gallery = draw_trial(samples, 0)
    assert [s.path for s in gallery] == ["8", "7", "4", "2"]  # Random(0): 0.84, 0.76, 0.42, 0.26


def test_vehicleid_identity_with_one_image_is_gallery_only():
    query, gallery = draw_trial([Sample("a", 1, 0)], 0)
    assert (query, [s.path for s in gallery]) == ([], ["a"])


def test_vehicleid_missing_list_is_named(tmp_path):
    make_vehicleid(tmp_path / "VehicleID_V1.0", 800)
    with pytest.raises(FileNotFoundError, match=r"lacks train_test_split/test_list_1600\.txt"):
        read_vehicleid(tmp_path, 0, size=1600)


def test_vehicleid_missing_images_are_an_error(tmp_path):
    make_vehicleid(tmp_path)
    (tmp_path / "image" / "9000000.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"VehicleID: no images in .*image"):
        read_vehicleid(tmp_path)

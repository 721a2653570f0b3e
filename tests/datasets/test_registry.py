"""From names to data sets and their facts."""

import logging

import pytest

from config import load_cfg
from datasets import DataSplits, Sample, read_dataset
from datasets.registry import (
    BENCHMARKS,
    family,
    locate,
    num_splits,
    prompt_noun,
    trains_apart_from_tests,
)
from datasets.synthetic import render
from model import build


def make_files(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def make_market(tree):
    make_files(
        tree,
        *("bounding_box_train/0002_c1.jpg", "query/0001_c1.jpg", "bounding_box_test/0001_c2.jpg"),
    )


def test_registry_has_the_fixed_names():
    names = {"market1501", "dukemtmc", "msmt17", "occ_duke", "veri"}
    names |= {"VehicleID", "VehicleID_1600", "VehicleID_2400"}
    places = ("street", "mall", "campus", "station", "harbour")
    names |= {f"synthetic_{place}" for place in places}
    assert names <= set(BENCHMARKS)


def test_number_of_splits_of_benchmarks_and_own_data():
    assert {name: num_splits(name) for name in BENCHMARKS if num_splits(name) > 1} == {
        **dict.fromkeys(("viper", "prid", "ilids", "grid"), 10),
        **dict.fromkeys(("cuhk03_classic", "cuhk03_classic_labeled"), 20),
        **dict.fromkeys(("VehicleID", "VehicleID_1600", "VehicleID_2400"), 10),
    }
    assert num_splits("/data/cows") == 1


def test_families_are_registered_names():
    assert {name: family(name) for name in BENCHMARKS if family(name) != name} == {
        "occ_duke": "dukemtmc",
        "msmt17_train": "msmt17",
        **dict.fromkeys(("cuhk03_labeled", "cuhk03_classic", "cuhk03_classic_labeled"), "cuhk03"),
        **dict.fromkeys(("VehicleID_1600", "VehicleID_2400"), "VehicleID"),
        **dict.fromkeys(("veri_wild_5000", "veri_wild_10000"), "veri_wild"),
    }
    assert set(map(family, BENCHMARKS)) <= set(BENCHMARKS)
    assert family("cows") == "cows"


def test_families_with_one_training_split():
    assert {family(name) for name in BENCHMARKS if trains_apart_from_tests(name)} == {
        "VehicleID",
        "msmt17",
        "veri_wild",
    }
    assert trains_apart_from_tests("VehicleID_2400")
    assert trains_apart_from_tests("veri_wild")
    assert not trains_apart_from_tests("cuhk03_labeled")
    assert not trains_apart_from_tests("cows")


@pytest.mark.parametrize("name", [*BENCHMARKS, "cows"])
def test_record_and_model_agree_on_the_noun(name):
    assert prompt_noun([name]) == build.prompt_noun(load_cfg(None, ["DATASETS.NAMES", name]))


@pytest.mark.parametrize(
    ("names", "noun"),
    [
        (["veri", "VehicleID_1600"], "vehicle"),
        (["veri", "market1501"], "person"),
        (["veri_wild"], "person"),
        (["veri", "/data/cars"], "person"),
    ],
)
def test_noun_is_vehicle_only_for_vehicles_alone(names, noun):
    assert prompt_noun(names) == noun


def test_read_dataset_by_name(tmp_path, caplog):
    make_market(tmp_path / "Market-1501")
    with caplog.at_level(logging.DEBUG, logger="datasets.registry"):
        splits = read_dataset("market1501", str(tmp_path))
    assert isinstance(splits, DataSplits)
    path = tmp_path / "Market-1501" / "bounding_box_train" / "0002_c1.jpg"
    assert splits.train == [Sample(str(path), 2, 0)]
    assert "train 1 ids, 1 images; query 1 ids, 1 images; gallery 1 ids, 1 images" in caplog.text


def test_size_remarks_are_logged_and_noted(tmp_path, caplog):
    make_market(tmp_path)
    with caplog.at_level(logging.WARNING):
        splits = read_dataset("market1501", tmp_path)
    assert "12,936 training images expected, 1 found" in caplog.text
    assert any("12,936 training images expected" in note for note in splits.notes)


def test_synthetic_needs_no_root(tmp_path, monkeypatch):
    make_market(tmp_path / "drawn")
    monkeypatch.setattr(render, "synthetic_folder", lambda _: tmp_path / "drawn")
    splits = read_dataset("synthetic_mall", tmp_path / "nowhere")
    assert splits.name == "synthetic_mall"
    assert [s.pid for s in splits.query] == [1]
    assert splits.notes == ()


@pytest.mark.parametrize("relative", [True, False])
def test_own_folder_below_the_root_or_absolute(tmp_path, relative):
    make_files(tmp_path, *(f"farm/cows.2/{pid}/{i}.jpg" for pid in "abcd" for i in range(2)))
    folder = "farm/cows.2"
    splits = read_dataset(folder if relative else str(tmp_path / folder), tmp_path)
    assert splits.name == "cows.2"
    assert len(splits.train) == 4


def test_own_csv(tmp_path):
    make_files(tmp_path, "1.jpg")
    (tmp_path / "herd.csv").write_text("path,pid,split\n1.jpg,a,train\n")
    assert read_dataset("herd.csv", tmp_path).name == "herd"


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("market1502", "did you mean market1501"),
        ("Market1501", "did you mean market1501"),
        ("vehicleid", "did you mean VehicleID"),
        ("synthetic_malls", "did you mean synthetic_mall"),
    ],
)
def test_unknown_name_suggests_a_similar_one(tmp_path, name, suggestion):
    with pytest.raises(ValueError, match=f"DATASETS.TARGETS: unknown data set '{name}'") as error:
        read_dataset(name, tmp_path)
    assert suggestion in str(error.value)
    assert "occ_duke" in str(error.value)
    assert "folder or CSV" in str(error.value)


@pytest.mark.parametrize("name", ["", "qqqqq", "none.csv", "image.jpg"])
def test_unknown_name_without_a_similar_one_suggests_none(tmp_path, name):
    make_files(tmp_path, "image.jpg")
    with pytest.raises(ValueError, match="unknown data set") as error:
        read_dataset(name, tmp_path)
    assert "did you mean" not in str(error.value)


@pytest.mark.parametrize(("name", "split"), [("market1501", 1), ("VehicleID", 10), ("veri", -1)])
def test_split_out_of_range_is_an_error(tmp_path, name, split):
    with pytest.raises(ValueError, match=f"data set {name}: no split {split}"):
        read_dataset(name, tmp_path, split=split)


def test_own_data_is_located_however_its_path_is_written(tmp_path, monkeypatch):
    make_files(tmp_path, *(f"farm/cows.2/{p}/{n}.jpg" for p in "abcd" for n in "12"), "herd.csv")
    (tmp_path / "link").symlink_to(tmp_path / "farm" / "cows.2")
    monkeypatch.chdir(tmp_path / "farm")
    folder = tmp_path / "farm" / "cows.2"
    for name in ("farm/cows.2", "farm/cows.2/", "cows.2", "./cows.2", "link", str(folder)):
        assert locate(name, tmp_path) == ("cows.2", folder)
        assert read_dataset(name, tmp_path).name == "cows.2"
    assert locate("herd.csv", str(tmp_path)) == ("herd", tmp_path / "herd.csv")


def test_benchmarks_and_missing_data_are_located_by_name(tmp_path):
    make_files(tmp_path, "market1501/a/1.jpg")
    assert locate("market1501", tmp_path) == ("market1501", None)
    assert locate("farm/cows", tmp_path) == ("farm/cows", None)


@pytest.mark.parametrize("name", ["herd.txt", "herd.xlsx"])
def test_file_that_is_not_a_table_is_named(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(ValueError, match=rf"{name} is a file, but a table has to end in .csv"):
        read_dataset(name, tmp_path)


def test_tilde_of_an_unknown_user_is_an_unknown_data_set(tmp_path):
    with pytest.raises(ValueError, match="unknown data set '~nobody-here/cows'"):
        read_dataset("~nobody-here/cows", tmp_path)
    with pytest.raises(FileNotFoundError, match="market1501 not found"):
        read_dataset("market1501", "~nobody-here")
    assert locate("~nobody-here", "~nobody-here") == ("~nobody-here", None)

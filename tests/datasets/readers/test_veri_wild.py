"""VERI-Wild: lists of three sizes and cameras from vehicle_info.txt."""

import pytest

from datasets.readers.veri_wild import read_veri_wild

INFO = [
    "id/image;Camera ID;Time;Model;Type;Colour",
    "00001/000001;7;2018-03-11 17:45:04;Volvo;Sedan;white",
    "00001/000002;174;2018-03-12 17:45:04;Volvo;Sedan;white",
    "00031/000900;7;2018-03-12 17:45:04;Volvo;Sedan;red",
    "00031/000901;23;2018-03-12 17:45:04;Volvo;Sedan;red",
    "",
]
IMAGES = ("00001/000001", "00001/000002", "00031/000900", "00031/000901")


@pytest.fixture
def make_tree(tmp_path, make_files):
    def make(folder=".", size=3000, **lists):
        make_files(*(f"images/{image}.jpg" for image in IMAGES), folder=folder)
        lines = {
            "vehicle_info": INFO,
            "train_list": IMAGES[:2],
            f"test_{size}_query": IMAGES[2:3],
            f"test_{size}": IMAGES[3:],
            **lists,
        }
        (tmp_path / folder / "train_test_split").mkdir()
        for name, content in lines.items():
            path = tmp_path / folder / "train_test_split" / f"{name}.txt"
            path.write_bytes("\n".join(content).encode("gbk"))

    return make


@pytest.mark.parametrize("folder", ["VERI-Wild", "VeRi-Wild", "veri_wild/VERI-Wild", "."])
@pytest.mark.parametrize(
    ("size", "name", "label"),
    [
        (3000, "veri_wild", "small"),
        (5000, "veri_wild_5000", "medium"),
        (10000, "veri_wild_10000", "large"),
    ],
)
def test_lists_give_pids_and_cameras(tmp_path, make_tree, facts, folder, size, name, label):
    make_tree(folder, size)
    splits = read_veri_wild(tmp_path, 0, size=size)
    base = "images" if folder == "." else f"{folder}/images"
    assert facts(splits.train) == [
        (f"{base}/00001/000001.jpg", 1, 0),
        (f"{base}/00001/000002.jpg", 1, 2),
    ]
    assert facts(splits.query) == [(f"{base}/00031/000900.jpg", 31, 0)]
    assert facts(splits.gallery) == [(f"{base}/00031/000901.jpg", 31, 1)]
    assert splits.name == name
    assert splits.ignore_same_camera
    assert splits.notes == (f"{label} test set of {size:,} identities",)


def test_small_test_set_is_the_default(tmp_path, make_tree):
    make_tree()
    assert read_veri_wild(tmp_path) == read_veri_wild(tmp_path, size=3000)


def test_entries_may_have_a_suffix_and_chinese_models(tmp_path, make_tree, facts):
    info = [line.replace(";", ".jpg;", 1).replace("Volvo", "沃尔沃") for line in INFO]
    make_tree(vehicle_info=info, train_list=["00001/000002.jpg"])
    assert facts(read_veri_wild(tmp_path).train) == [("images/00001/000002.jpg", 1, 2)]


def test_vehicle_info_may_lack_a_header(tmp_path, make_tree, facts):
    make_tree(vehicle_info=INFO[1:])
    assert facts(read_veri_wild(tmp_path).train[:1]) == [("images/00001/000001.jpg", 1, 0)]


def test_malformed_lines_are_errors_naming_them(tmp_path, make_tree):
    make_tree(train_list=["00001/000001", "", "000002 00001"])
    match = r"train_list\.txt, line 3: expected '00001/000001', found '000002 00001'"
    with pytest.raises(ValueError, match=match):
        read_veri_wild(tmp_path)


def test_image_without_a_camera_is_named(tmp_path, make_tree):
    make_tree(test_3000=["00031/000901", "00031/000999"])
    with pytest.raises(ValueError, match=r"test_3000\.txt, line 2: 00031/000999 is not in vehicle"):
        read_veri_wild(tmp_path)


def test_camera_other_than_a_number_is_an_error(tmp_path, make_tree):
    make_tree(vehicle_info=[*INFO[:2], "00001/000002;north"])
    with pytest.raises(ValueError, match=r"vehicle_info\.txt, line 3: expected 'image;camera;"):
        read_veri_wild(tmp_path)


def test_missing_list_is_named_with_every_path(tmp_path, make_tree):
    make_tree("VERI-Wild")
    with pytest.raises(FileNotFoundError) as error:
        read_veri_wild(tmp_path, size=5000)
    text = str(error.value)
    assert "data set veri_wild_5000 not found" in text
    lists = "train_test_split/test_5000_query.txt, train_test_split/test_5000.txt"
    assert f"{tmp_path}/VERI-Wild  (lacks {lists})" in text
    for folder in ("VeRI-Wild", "VeRi-Wild", "veri_wild/VERI-Wild", "veri_wild"):
        assert f"{tmp_path}/{folder}  (no such folder)" in text
    assert f"{tmp_path}  (lacks images, train_test_split/vehicle_info.txt" in text
    assert "test_5000_query.txt, test_5000.txt, lines" in text


@pytest.mark.parametrize("lists", [{"train_list": ["00031/000900"]}, {"test_3000": []}])
def test_missing_images_are_an_error(tmp_path, make_tree, lists):
    make_tree(**lists)
    (tmp_path / "images" / "00031" / "000900.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"veri_wild: no images in .*images; expected"):
        read_veri_wild(tmp_path)

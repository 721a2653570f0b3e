"""CUHK03: three forms on disk, two flavours, two protocols; the release is a real HDF5 file."""

import logging
import sys

import h5py
import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from datasets.readers import cuhk03_release
from datasets.readers.cuhk03 import NUM_SPLITS, read_cuhk03, read_cuhk03_classic

# The ten images of each person, 1 = exists, 0 = missing; a key is (camera pair, identity).
PERSONS = {
    (1, 1): "1100010000",
    (1, 2): "1000011000",
    (1, 3): "1000100000",
    (2, 1): "1000000001",
    (5, 1): "0000010000",
}
TEST_SETS = [[(1, 1), (1, 3), (5, 1)]] + [[(1, 2), (2, 1), (5, 1)]] * (NUM_SPLITS - 1)
EXTRACTED = [
    ("1_001_1_01.png", 10_001, 0),
    ("1_001_1_02.png", 10_001, 0),
    ("1_001_2_06.png", 10_001, 1),
    ("1_002_1_01.png", 10_002, 0),
    ("1_002_2_06.png", 10_002, 1),
    ("1_002_2_07.png", 10_002, 1),
    ("1_003_1_01.png", 10_003, 0),
    ("1_003_1_05.png", 10_003, 0),
    ("2_001_1_01.png", 20_001, 2),
    ("2_001_2_10.png", 20_001, 3),
    ("5_001_2_06.png", 50_001, 9),
]
NAMES = [name for name, _, _ in EXTRACTED]
NEW_PROTOCOL = {"train_idx": [1, 2, 3], "query_idx": [4, 9], "gallery_idx": [6, 5, 10]}


def draw_image(flavour, pair, identity, image, height=4, width=3):
    """Pixels that encode row, column, flavour, pair, identity and image."""
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    pixels[:, :, 0] = np.arange(height)[:, None] * 10 + np.arange(width)
    pixels[:, :, 1] = pair * 10 + identity
    pixels[:, :, 2] = image + (100 if flavour == "labeled" else 0)
    return pixels


def write_release(path, *, as_matlab=True, flavours=("detected", "labeled"), test_sets=TEST_SETS):
    """The release as MATLAB writes it, with all axes reversed, or not those of cell arrays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w", userblock_size=512) as file:

        def put(array):
            return file.create_dataset(f"#refs#/{len(file.require_group('#refs#'))}", data=array)

        def refer(name, arrays):
            references = np.array([array.ref for array in arrays], dtype=h5py.ref_dtype)
            shape = (-1, 1) if as_matlab else (1, -1)
            file.create_dataset(name, data=references.reshape(shape), dtype=h5py.ref_dtype)

        empty = put(np.zeros(2, dtype=np.uint64) if as_matlab else np.zeros((2, 1), np.uint64))
        for flavour in flavours:
            pairs = []
            for pair in range(1, 6):
                identities = max((i for p, i in PERSONS if p == pair), default=2)
                cell = np.full((10, identities), empty.ref, dtype=h5py.ref_dtype)
                for image, identity in np.ndindex(cell.shape):
                    if PERSONS.get((pair, identity + 1), "0" * 10)[image] == "1":
                        pixels = draw_image(flavour, pair, identity + 1, image + 1)
                        cell[image, identity] = put(pixels.T).ref
                number = len(file["#refs#"])
                pairs.append(
                    file.create_dataset(
                        f"#refs#/{number}",
                        data=cell if as_matlab else cell.T,
                        dtype=h5py.ref_dtype,
                    )
                )
            refer(flavour, pairs)
        if test_sets:
            arrays = [np.array(persons, dtype=float) for persons in test_sets]
            refer("testsets", [put(array.T if as_matlab else array) for array in arrays])


def write_split_file(tree, flavour="detected", names=NAMES, **changes):
    tree.mkdir(parents=True, exist_ok=True)
    filelist = np.array(names, dtype=object).reshape(-1, 1)
    fields = {
        "filelist": filelist,
        "labels": np.arange(len(names)).reshape(-1, 1),
        "camId": np.ones((len(names), 1)),
        **{field: np.array(numbers).reshape(-1, 1) for field, numbers in NEW_PROTOCOL.items()},
        **changes,
    }
    kept = {field: value for field, value in fields.items() if value is not None}
    savemat(tree / f"cuhk03_new_protocol_config_{flavour}.mat", kept)


def in_folder(folder, samples):
    return [(f"{folder}/{name}", pid, camid) for name, pid, camid in samples]


# The new protocol


@pytest.mark.parametrize("flavour", ["detected", "labeled"])
@pytest.mark.parametrize("folder", ["cuhk03-np/", "CUHK03-NP/", "cuhk03/cuhk03-np/", ""])
def test_market_layout_has_two_cameras(tmp_path, make_files, facts, flavour, folder):
    make_files(
        "bounding_box_train/0001_c1_1.png",
        "bounding_box_train/1467_c2_9.png",
        "query/0002_c1_21.png",
        "bounding_box_test/0002_c2_26.png",
        "bounding_box_test/0000_c1_3.png",
        folder=f"{folder}{flavour}",
    )
    splits = read_cuhk03(tmp_path, flavour=flavour)
    base = f"{folder}{flavour}"
    assert splits.name == ("cuhk03" if flavour == "detected" else "cuhk03_labeled")
    assert facts(splits.train) == [
        (f"{base}/bounding_box_train/0001_c1_1.png", 1, 0),
        (f"{base}/bounding_box_train/1467_c2_9.png", 1467, 1),
    ]
    assert facts(splits.query) == [(f"{base}/query/0002_c1_21.png", 2, 0)]
    assert facts(splits.gallery) == [
        (f"{base}/bounding_box_test/0000_c1_3.png", 0, 0),
        (f"{base}/bounding_box_test/0002_c2_26.png", 2, 1),
    ]
    assert splits.distractors == frozenset()
    assert splits.notes == (
        f"CUHK03 {flavour}, new protocol (767/700 identities)",
        "2 cameras: the file names do not tell the five camera pairs apart",
    )


@pytest.mark.parametrize("flavour", ["detected", "labeled"])
@pytest.mark.parametrize("folder", ["cuhk03", "CUHK03", "."])
def test_new_protocol_with_a_split_file(tmp_path, make_files, facts, flavour, folder):
    tree = tmp_path / folder
    make_files(*NAMES, "Thumbs.db", folder=f"{folder}/images_{flavour}")
    write_split_file(tree, flavour)
    splits = read_cuhk03(tmp_path, flavour=flavour)
    images = f"images_{flavour}" if folder == "." else f"{folder}/images_{flavour}"
    assert splits.name == ("cuhk03" if flavour == "detected" else "cuhk03_labeled")
    assert facts(splits.train) == in_folder(images, EXTRACTED[:3])
    assert facts(splits.query) == in_folder(images, [EXTRACTED[3], EXTRACTED[8]])
    assert facts(splits.gallery) == in_folder(images, [EXTRACTED[i - 1] for i in (6, 5, 10)])
    assert splits.notes == (f"CUHK03 {flavour}, new protocol (767/700 identities)",)
    assert splits.ignore_same_camera
    assert not splits.single_gallery_shot


def test_market_layout_comes_first(tmp_path, make_files, facts):
    make_files("query/0002_c1_21.png", "bounding_box_train/0001_c1_1.png", folder="detected")
    make_files("detected/bounding_box_test/0002_c2_26.png")
    make_files(*NAMES, folder="cuhk03/images_detected")
    write_split_file(tmp_path / "cuhk03")
    assert facts(read_cuhk03(tmp_path).query) == [("detected/query/0002_c1_21.png", 2, 0)]


def test_one_flavour_is_never_read_as_the_other(tmp_path, make_files):
    make_files(*NAMES, folder="cuhk03/images_detected")
    write_split_file(tmp_path / "cuhk03", "detected")
    with pytest.raises(FileNotFoundError, match="cuhk03_labeled not found"):
        read_cuhk03(tmp_path, flavour="labeled")


def test_missing_tree_names_every_path_and_the_remedy(tmp_path, make_files):
    make_files("cuhk03-np/labeled/query/0001_c1_1.png", "cuhk03/images_labeled/1_001_1_01.png")
    with pytest.raises(FileNotFoundError) as error:
        read_cuhk03(tmp_path, flavour="labeled")
    text = str(error.value)
    assert "data set cuhk03_labeled not found" in text
    lacks = "(lacks bounding_box_train, bounding_box_test)"
    assert f"{tmp_path}/cuhk03-np/labeled  {lacks}" in text
    assert f"{tmp_path}/labeled  (no such folder)" in text
    assert f"{tmp_path}/cuhk03  (lacks cuhk03_new_protocol_config_labeled.mat)" in text
    either = "images_labeled or cuhk03_release/cuhk-03.mat"
    assert f"{tmp_path}  (lacks {either}, cuhk03_new_protocol_config_labeled.mat)" in text
    assert "cuhk03-np/labeled/\n" in text
    assert "images_labeled/   1_001_1_01.png" in text
    assert "detected" not in text
    assert "REID_DATA" in text


@pytest.mark.parametrize(
    "name", ["1_001_3_01.png", "6_001_1_01.png", "0001_c1_1.png", "1_001_1.png"]
)
def test_strange_names_are_errors(tmp_path, make_files, name):
    make_files(*NAMES, name, folder="images_detected")
    write_split_file(tmp_path)
    with pytest.raises(ValueError, match=rf"cuhk03: cannot read .*/{name}: .*like 1_001_2_06\.png"):
        read_cuhk03(tmp_path)


def test_strange_name_in_the_market_layout_is_an_error(tmp_path, make_files):
    make_files(
        "bounding_box_train/1_001_1_01.png",
        "query/0002_c1_21.png",
        "bounding_box_test/0002_c2_26.png",
        folder="detected",
    )
    with pytest.raises(ValueError, match=r"cuhk03: cannot read .*bounding_box_train/1_001_1_01"):
        read_cuhk03(tmp_path)


def test_empty_image_folder_is_an_error(tmp_path):
    (tmp_path / "images_detected").mkdir()
    write_split_file(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"cuhk03: no images in .*images_detected"):
        read_cuhk03(tmp_path)


def test_missing_images_of_the_split_file_are_counted(tmp_path, make_files):
    make_files(*NAMES[:8], folder="images_detected")
    write_split_file(tmp_path)
    with pytest.raises(FileNotFoundError) as error:
        read_cuhk03(tmp_path)
    assert "1 images of" in str(error.value)
    assert "config_detected.mat are missing, among them 2_001_1_01.png" in str(error.value)


@pytest.mark.parametrize("field", ["filelist", "train_idx", "query_idx", "gallery_idx"])
def test_missing_field_of_the_split_file_is_named(tmp_path, make_files, field):
    make_files(*NAMES, folder="images_detected")
    write_split_file(tmp_path, **{field: None})
    with pytest.raises(ValueError, match=rf"config_detected\.mat: .*missing {field}$"):
        read_cuhk03(tmp_path)


@pytest.mark.parametrize("index", [0, 12])
def test_index_outside_the_split_file_is_an_error(tmp_path, make_files, index):
    make_files(*NAMES, folder="images_detected")
    write_split_file(tmp_path, query_idx=np.array([[1], [index]]))
    with pytest.raises(ValueError, match=r"config_detected\.mat: an index is outside 1\.\.11"):
        read_cuhk03(tmp_path)


@pytest.mark.parametrize("content", ["", "<!DOCTYPE html>" * 50])
def test_damaged_split_file_is_an_error(tmp_path, make_files, content):
    make_files(*NAMES, folder="images_detected")
    (tmp_path / "cuhk03_new_protocol_config_detected.mat").write_text(content)
    with pytest.raises(ValueError, match=r"cannot read .*config_detected\.mat .*copy complete"):
        read_cuhk03(tmp_path)


# The release


@pytest.mark.parametrize("as_matlab", [True, False])
@pytest.mark.parametrize("flavour", ["detected", "labeled"])
def test_images_are_extracted_once(tmp_path, caplog, facts, flavour, as_matlab):
    tree = tmp_path / "cuhk03"
    write_release(tree / "cuhk03_release" / "cuhk-03.mat", as_matlab=as_matlab)
    write_split_file(tree, flavour)
    with caplog.at_level(logging.INFO):
        splits = read_cuhk03(tmp_path, flavour=flavour)
    folder = tree / f"images_{flavour}"
    assert f"extracting the {flavour} images of" in caplog.text
    assert f"extracted 11 images to {folder}" in caplog.text
    assert sorted(path.name for path in folder.iterdir()) == NAMES
    assert facts(splits.train) == in_folder(f"cuhk03/images_{flavour}", EXTRACTED[:3])
    for pair, identity, image in ((1, 1, 2), (1, 2, 7), (2, 1, 10)):
        view = 1 if image <= 5 else 2
        with Image.open(folder / f"{pair}_{identity:03}_{view}_{image:02}.png") as image_file:
            expected = draw_image(flavour, pair, identity, image)
            assert np.array_equal(np.asarray(image_file), expected)
    assert sorted(path.name for path in tree.iterdir()) == [
        "cuhk03_new_protocol_config_" + flavour + ".mat",
        "cuhk03_release",
        folder.name,
    ]
    caplog.clear()
    (tree / "cuhk03_release" / "cuhk-03.mat").write_text("no longer read")
    assert read_cuhk03(tmp_path, flavour=flavour) == splits
    assert "extract" not in caplog.text


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, OSError("no space left")])
def test_interrupted_extraction_leaves_nothing(tmp_path, monkeypatch, interruption):
    write_release(tmp_path / "cuhk03_release" / "cuhk-03.mat")
    write_split_file(tmp_path)
    save, saved = Image.Image.save, []

    def save_two(image, path):
        if len(saved) == 2:
            raise interruption
        saved.append(path)
        save(image, path)

    with monkeypatch.context() as patch:
        patch.setattr(Image.Image, "save", save_two)
        with pytest.raises((KeyboardInterrupt, OSError)):
            read_cuhk03(tmp_path)
    assert len(saved) == 2
    assert not any(path.name.startswith((".", "images")) for path in tmp_path.iterdir())
    assert len(read_cuhk03(tmp_path).train) == 3


def test_killed_extraction_starts_again(tmp_path, monkeypatch):
    write_release(tmp_path / "cuhk03_release" / "cuhk-03.mat")
    write_split_file(tmp_path)

    def fail(*_):
        raise OSError("killed")

    with monkeypatch.context() as patch:  # a killed process cannot clean up
        patch.setattr(cuhk03_release.shutil, "rmtree", lambda *_, **__: None)
        patch.setattr(Image.Image, "save", fail)
        with pytest.raises(OSError, match="killed"):
            read_cuhk03(tmp_path)
    assert any(path.name.startswith(".images_detected.") for path in tmp_path.iterdir())
    assert len(read_cuhk03(tmp_path).train) == 3


def test_extraction_by_two_processes_gives_one_folder(tmp_path, make_files, monkeypatch):
    write_release(tmp_path / "cuhk03_release" / "cuhk-03.mat")
    write_split_file(tmp_path)
    read_images = cuhk03_release._read_images

    def read_slowly(release, flavour):
        yield from read_images(release, flavour)
        make_files(*NAMES, folder="images_detected")

    monkeypatch.setattr(cuhk03_release, "_read_images", read_slowly)
    assert len(read_cuhk03(tmp_path).train) == 3
    assert not any(path.name.startswith(".") for path in tmp_path.iterdir())


def test_read_only_data_root_is_named(tmp_path, monkeypatch):
    write_release(tmp_path / "cuhk03_release" / "cuhk-03.mat")
    write_split_file(tmp_path)

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(cuhk03_release.Path, "mkdir", refuse)
    with pytest.raises(OSError, match=r"cannot extract the images of .*cuhk-03\.mat") as error:
        read_cuhk03(tmp_path)
    assert "Permission denied" in str(error.value)
    assert f"make {tmp_path} writable" in str(error.value)


def test_missing_h5py_is_named(tmp_path, monkeypatch):
    write_release(tmp_path / "cuhk03_release" / "cuhk-03.mat")
    write_split_file(tmp_path)
    monkeypatch.setitem(sys.modules, "h5py", None)
    for read in (read_cuhk03, read_cuhk03_classic):
        with pytest.raises(
            ValueError, match=r"h5py is not installed; reading .*cuhk-03\.mat .*: pip install"
        ):
            read(tmp_path)


def test_extracted_images_are_read_without_h5py(tmp_path, make_files, monkeypatch):
    make_files(*NAMES, folder="images_detected")
    write_split_file(tmp_path)
    monkeypatch.setitem(sys.modules, "h5py", None)
    assert len(read_cuhk03(tmp_path).train) == 3


def test_damaged_release_is_an_error(tmp_path, make_files):
    make_files("cuhk03_release/cuhk-03.mat")
    with pytest.raises(ValueError, match=r"cannot read .*cuhk-03\.mat .*Is the copy complete\?"):
        read_cuhk03_classic(tmp_path)


def test_flavour_missing_from_the_release_is_named(tmp_path):
    write_release(tmp_path / "cuhk03_release" / "cuhk-03.mat", flavours=("detected",))
    with pytest.raises(ValueError, match=r"cuhk-03\.mat has no 'labeled'"):
        read_cuhk03_classic(tmp_path, flavour="labeled")
    assert not (tmp_path / "images_labeled").exists()


# The classic protocol


@pytest.mark.parametrize("as_matlab", [True, False])
@pytest.mark.parametrize("flavour", ["detected", "labeled"])
def test_classic_split_has_one_view_per_side(tmp_path, facts, flavour, as_matlab):
    write_release(tmp_path / "CUHK03" / "cuhk03_release" / "cuhk-03.mat", as_matlab=as_matlab)
    splits = read_cuhk03_classic(tmp_path, 0, flavour=flavour)
    images = f"CUHK03/images_{flavour}"
    assert splits.name == "cuhk03_classic" + ("_labeled" if flavour == "labeled" else "")
    assert facts(splits.train) == in_folder(images, [*EXTRACTED[3:6], *EXTRACTED[8:10]])
    assert facts(splits.query) == in_folder(images, [*EXTRACTED[:2], *EXTRACTED[6:8]])
    assert facts(splits.gallery) == in_folder(images, [EXTRACTED[2], EXTRACTED[10]])
    assert splits.single_gallery_shot
    assert splits.ignore_same_camera
    assert splits.notes == (
        f"CUHK03 {flavour}, classic protocol (1,367/100 identities)",
        "20 splits; CMC with one random gallery image per identity",
    )


def test_classic_splits_differ(tmp_path, make_files):
    write_release(tmp_path / "cuhk03_release" / "cuhk-03.mat")
    make_files(*NAMES, folder="images_detected")
    splits = read_cuhk03_classic(tmp_path, NUM_SPLITS - 1)
    assert {sample.pid for sample in splits.train} == {10_001, 10_003}
    assert [sample.pid for sample in splits.query] == [10_002, 20_001]
    assert [sample.pid for sample in splits.gallery] == [10_002, 10_002, 20_001, 50_001]
    assert splits.notes == read_cuhk03_classic(tmp_path, 0).notes


def test_classic_needs_the_release_even_with_extracted_images(tmp_path, make_files):
    make_files(*NAMES, folder="cuhk03/images_detected")
    with pytest.raises(FileNotFoundError) as error:
        read_cuhk03_classic(tmp_path)
    text = str(error.value)
    assert "data set cuhk03_classic not found" in text
    assert f"{tmp_path}/cuhk03  (lacks cuhk03_release/cuhk-03.mat)" in text
    assert f"{tmp_path}/CUHK03  (no such folder)" in text
    assert "holds the test sets; needed even after extraction" in text


def test_missing_test_sets_are_named(tmp_path):
    write_release(tmp_path / "cuhk03_release" / "cuhk-03.mat", test_sets=None)
    with pytest.raises(ValueError, match=r"cuhk-03\.mat has no 'testsets'"):
        read_cuhk03_classic(tmp_path)


def test_too_few_test_sets_are_an_error(tmp_path):
    write_release(tmp_path / "cuhk03_release" / "cuhk-03.mat", test_sets=TEST_SETS[:3])
    with pytest.raises(ValueError, match=r"cuhk-03\.mat: no test set 3, only 3"):
        read_cuhk03_classic(tmp_path, 3)


def test_test_set_of_another_shape_is_an_error(tmp_path):
    write_release(tmp_path / "cuhk03_release" / "cuhk-03.mat", test_sets=[[(1, 1, 1)] * 4])
    with pytest.raises(ValueError, match=r"cuhk-03\.mat: expected 2 rows or columns, found"):
        read_cuhk03_classic(tmp_path)

"""CUHK-SYSU: three ways to name its crops, and no cameras."""

import pytest

from datasets.readers.cuhk_sysu import read_cuhk_sysu


@pytest.mark.parametrize(
    ("folder", "names"),
    [
        ("cuhksysu/cropped_images", ("p1_s5_1.jpg", "p1_s23_2.jpg", "p11934_s1_1.jpg")),
        ("cuhk_sysu/cropped_images", ("p1_s5_1.jpg", "p1_s23_2.jpg", "p11934_s1_1.jpg")),
        (
            "CUHK-SYSU/cropped_image",
            (
                "p00001_n01_s00001_hard0.png",
                "p00001_n02_s00317_hard1.png",
                "p11934_n01_s00002_hard0.png",
            ),
        ),
        ("CUHK-SYSU/bounding_box_train", ("00001_c1_1.jpg", "00001_c0_2.jpg", "11934_c2_3.jpg")),
        ("cropped_images", ("p1_s5_1.jpg", "p1_s23_2.jpg", "p11934_s1_1.jpg")),
    ],
)
def test_every_image_is_for_training_with_camera_0(tmp_path, make_files, facts, folder, names):
    make_files(*names, "._p1_s1_1.jpg", "readme.txt", folder=folder)
    splits = read_cuhk_sysu(tmp_path)
    pids = dict(zip(names, (1, 1, 11_934), strict=True))
    assert splits.name == "cuhk_sysu"
    assert facts(splits.train) == [(f"{folder}/{name}", pids[name], 0) for name in sorted(names)]
    assert (splits.query, splits.gallery) == ([], [])
    assert "for training only" in splits.notes[0]
    assert "cameras unknown" in splits.notes[1]


def test_junk_is_left_out(tmp_path, make_files, facts):
    make_files("p-1_s1_1.jpg", "p7_s1_2.jpg", folder="cropped_images")
    assert facts(read_cuhk_sysu(tmp_path).train) == [("cropped_images/p7_s1_2.jpg", 7, 0)]


@pytest.mark.parametrize("name", ["s1_p1_1.jpg", "p1.jpg", "p_s1_1.jpg", "1.jpg"])
def test_strange_names_are_errors(tmp_path, make_files, name):
    make_files("p1_s1_1.jpg", name, folder="cuhksysu/cropped_images")
    with pytest.raises(ValueError, match=rf"cuhk_sysu: cannot read .*/{name}: .*like p1_s1_1\.jpg"):
        read_cuhk_sysu(tmp_path)


def test_empty_folder_is_an_error(tmp_path):
    (tmp_path / "CUHK-SYSU" / "cropped_image").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=r"cuhk_sysu: no images in .*cropped_image;"):
        read_cuhk_sysu(tmp_path)


def test_missing_tree_names_every_path_and_the_remedy(tmp_path):
    (tmp_path / "CUHK-SYSU").mkdir()
    with pytest.raises(FileNotFoundError) as error:
        read_cuhk_sysu(tmp_path)
    text = str(error.value)
    parts = "cropped_images or cropped_image or bounding_box_train"
    assert f"{tmp_path}/cuhksysu  (no such folder)" in text
    assert f"{tmp_path}/cuhk_sysu  (no such folder)" in text
    assert f"{tmp_path}/CUHK-SYSU  (lacks {parts})" in text
    assert f"{tmp_path}  (lacks {parts})" in text
    assert "p00001_n01_s00001_hard0.png" in text
    assert "REID_DATA" in text

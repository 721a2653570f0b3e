"""`run.py data-check` names every fault with its files."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from datasets import registry
from datasets.readers.benchmark import Benchmark, PublishedSizes

P_X_K = ["DATALOADER.SAMPLER", "softmax_triplet", "DATALOADER.NUM_INSTANCE", "4"]
SHAPE = ["INPUT.SIZE_TRAIN", "[64, 32]", "INPUT.SIZE_TEST", "[64, 32]"]


def save_image(path, size=(64, 32)):
    """An image that differs from those at other paths."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(list(path.as_posix().encode()))
    Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(path)
    return path


@pytest.fixture
def shop(tmp_path):
    """Own data without a fault: 8 training and 4 test identities, each with 2 cameras."""
    folder = tmp_path / "shop"
    for pid in range(1, 13):
        for camera in (1, 2):
            if pid <= 8:
                save_image(folder / "train" / f"{pid:02d}" / f"a_c{camera}.jpg")
                save_image(folder / "train" / f"{pid:02d}" / f"b_c{camera}.jpg")
            else:
                save_image(folder / "query" / f"{pid:02d}" / f"q_c{camera}.jpg")
                save_image(folder / "gallery" / f"{pid:02d}" / f"g_c{camera}.jpg")
    return folder


@pytest.fixture
def data_check(script, tmp_path):
    """`data_check(folder, "KEY", "VALUE", ...)` -> the finished program and its findings."""

    def run(*arguments):
        file = tmp_path / "findings" / "all.json"
        finished = script("run.py", "data-check", *arguments, *SHAPE, "--json", file)
        assert "Traceback" not in finished.output
        found = json.loads(file.read_text(encoding="utf-8"))
        return finished, found

    return run


def test_faultless_data_pass(data_check, shop):
    finished, found = data_check(shop, *P_X_K, "SOLVER.STAGE2.IMS_PER_BATCH", "32")
    assert finished.status == 0, finished.output
    assert finished.output.splitlines()[-2] == "errors: 0, warnings: 0"
    assert found["faults"] == []
    (summary,) = found["data"]
    assert summary["train"] == {"ids": 8, "images": 32, "cameras": 2}
    assert summary["query"] == summary["gallery"] == {"ids": 4, "images": 8, "cameras": 2}
    assert summary["height"] == [64, 64, 64]
    assert summary["images_per_identity"] == [4, 4, 4]
    for line in (
        "  train          8 identities        32 images    2 cameras",
        "  images of a training identity: 4 to 4, median 4",
        "  height: 64 to 64 pixels, median 64",
        "  matches from the query's own camera: left out",
    ):
        assert line in finished.output.splitlines()


def test_each_planted_fault_is_named(data_check, shop):
    train, query, gallery = (shop / part for part in ("train", "query", "gallery"))
    (train / "01" / "broken_c1.jpg").write_text("not an image")
    cut = save_image(gallery / "09" / "cut_c1.jpg")
    cut.write_bytes(cut.read_bytes()[:-600])
    lone = save_image(train / "lone" / "x_c1.jpg")
    nobody = save_image(query / "nobody" / "n_c1.jpg")
    save_image(gallery / "08" / "both_c1.jpg")
    shutil.copy(train / "02" / "a_c1.jpg", gallery / "10" / "copy_c1.jpg")
    shutil.copy(train / "03" / "a_c1.jpg", train / "04" / "twin_c2.jpg")
    shutil.copy(query / "11" / "q_c1.jpg", gallery / "11" / "self_c2.jpg")
    wide = save_image(train / "05" / "wide_c1.jpg", (32, 64))
    tiny = save_image(train / "06" / "tiny_c1.jpg", (8, 4))
    opts = [*P_X_K, "SOLVER.STAGE2.IMS_PER_BATCH", "64"]
    finished, found = data_check(shop, *opts)
    assert finished.status == 1
    planted = {  # kind -> severity and the names expected in report and JSON
        "unreadable file": ("error", ["broken_c1.jpg", "cut_c1.jpg: image file is truncated"]),
        "batch cannot be filled": ("error", []),
        "identity with one image": ("warning", [str(lone)]),
        "query without match": ("warning", [str(nobody)]),
        "identity in training and test": ("warning", ["identity 08 ("]),
        "equal images in training and test": ("warning", ["copy_c1.jpg", "02/a_c1.jpg"]),
        "equal images of different identities": ("warning", ["twin_c2.jpg", "03/a_c1.jpg"]),
        "query in gallery": ("warning", ["q_c1.jpg", "self_c2.jpg"]),
        "odd aspect": ("warning", [f"{wide}: 32 x 64"]),
        "tiny image": ("warning", [f"{tiny}: 8 x 4"]),
    }
    assert {fault["kind"]: fault["severity"] for fault in found["faults"]} == {
        kind: severity for kind, (severity, _) in planted.items()
    }
    report = finished.output.replace("\n" + " " * 9, " ")  # the terminal wraps long lines
    for fault in found["faults"]:
        kind, severity = fault["kind"], fault["severity"]
        line = f"{severity.upper()} {kind}: shop: {fault['what']}"
        assert line in report.splitlines()
        for name in planted[kind][1]:
            assert any(name in place for place in fault["where"]), kind
            assert name in report.split(line)[1].split("->")[0], kind
    needs = "a batch of 16 identities x 4 images needs 16 identities, the training set has 9"
    assert needs in report
    assert finished.output.splitlines()[-1].endswith("a run stops on 2 of the faults")
    skipping = [*opts[:-1], "16", "INPUT.ON_BAD_IMAGE", "skip"]
    assert data_check(shop, *skipping)[0].status == 0


def kinds(found):
    return {fault["kind"]: fault["severity"] for fault in found["faults"]}


def test_single_camera_is_a_warning_and_an_error_with_sie(data_check, shop):
    for path in list(shop.rglob("*.jpg")):
        path.rename(path.with_name(path.name.replace("_c", "-")))
    finished, found = data_check(shop)
    assert kinds(found) == {"one camera": "warning"}
    assert finished.status == 0
    finished, found = data_check(shop, "MODEL.SIE_CAMERA", "True", "MODEL.NAME", "ViT-B-16")
    assert finished.status == 1
    assert "MODEL.SIE_CAMERA needs several cameras" in finished.output


def test_other_sizes_than_published_are_a_warning(data_check, shop, monkeypatch):
    published = Benchmark(lambda *_: None, sizes=PublishedSizes(train_ids=(8,), train_images=(33,)))
    monkeypatch.setitem(registry.BENCHMARKS, "shop", published)
    finished, found = data_check(shop)
    assert kinds(found) == {"other counts than published": "warning"}
    assert "shop: 33 training images expected, 32 found" in finished.output
    assert finished.status == 0


def test_unreadable_data_set_does_not_stop_the_check_of_others(data_check, shop, tmp_path):
    (tmp_path / "bad.csv").write_text("path,pid\ngone.jpg,1\n")
    finished, found = data_check(shop, tmp_path / "bad.csv")
    assert finished.status == 1
    assert [summary["name"] for summary in found["data"]] == ["shop"]
    assert kinds(found) == {"data set not read": "error"}
    assert "line 2: no such file" in finished.output


def test_configuration_is_checked_for_its_use_of_the_data(data_check, shop, tmp_path):
    """A test image of the target is trained on; the source has no test images and needs none."""
    source = tmp_path / "source"
    shutil.copytree(shop / "train", source / "train")
    shutil.copy(shop / "query" / "09" / "q_c1.jpg", source / "train" / "01" / "leak_c1.jpg")
    names = ["DATASETS.NAMES", f"('{source.as_posix()}',)"]
    finished, found = data_check(*names, "DATASETS.TARGETS", f"('{shop.as_posix()}',)")
    assert finished.status == 1
    severities = [(fault["data"], fault["kind"], fault["severity"]) for fault in found["faults"]]
    assert severities == [
        ("source", "empty split", "warning"),
        ("source", "empty split", "warning"),
        ("shop", "test data trained on", "error"),
    ]
    assert "leak_c1.jpg" in finished.output
    finished, found = data_check(*names)
    assert [fault["severity"] for fault in found["faults"]] == ["error", "error"]
    assert "no query images" in finished.output


def test_mistyped_option_is_not_a_data_set(script, shop):
    finished = script("run.py", "data-check", shop, "SOLVER.SEDE", "1")
    assert finished.status == 1
    assert "did you mean SOLVER.SEED" in finished.output.splitlines()[-1]


def test_own_data_that_only_test_are_checked_with_all_identities(data_check, shop, tmp_path):
    """As a run uses them: no training split is drawn."""
    rows = [f"{path},{path.parent.name}" for path in sorted((shop / "train").rglob("*.jpg"))]
    (tmp_path / "all.csv").write_text("\n".join(["path,pid", *rows]))
    target = f"('{(tmp_path / 'all.csv').as_posix()}',)"
    (tmp_path / "other" / "train").mkdir(parents=True)
    for part in ("query", "gallery"):
        shutil.copytree(shop / part, tmp_path / "other" / "train", dirs_exist_ok=True)
    source = f"('{(tmp_path / 'other').as_posix()}',)"
    _, found = data_check("DATASETS.NAMES", source, "DATASETS.TARGETS", target)
    assert [summary["query"]["ids"] for summary in found["data"]] == [0, 8]
    _, found = data_check("DATASETS.NAMES", target)
    assert [summary["query"]["ids"] for summary in found["data"]] == [4]

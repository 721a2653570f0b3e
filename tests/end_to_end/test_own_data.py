"""Own data that is only tested, only trained on, or has no labels."""

import json

import pytest

from config import load_cfg
from datasets.checks.fingerprint import TEST, fingerprint
from datasets.registry import read_dataset
from processor.evaluation.build import build_targets


@pytest.fixture(scope="module")
def shop(people, tmp_path_factory):
    """The path of a CSV without splits: the 8 test identities of `people`, 3 cameras."""
    splits = read_dataset(people.name, people.parent)
    rows = [f"{x.path},{x.pid},{x.camid}" for x in (*splits.query, *splits.gallery) if x.pid > 0]
    file = tmp_path_factory.mktemp("own") / "shop.csv"
    file.write_text("\n".join(["path,pid,camid", *rows]))
    return file


@pytest.fixture(scope="module")
def crops(people, tmp_path_factory):
    """A folder of unlabelled images, train/unknown/."""
    folder = tmp_path_factory.mktemp("own") / "crops"
    (folder / "train" / "unknown").mkdir(parents=True)
    for image in read_dataset(people.name, people.parent).train[:40]:
        name = image.path.rpartition("/")[2]
        (folder / "train" / "unknown" / name).symlink_to(image.path)
    return folder


def num_test_ids(cfg, cameras):
    (target,) = build_targets(cfg, cameras)
    return len({x.pid for x in target.splits[0].query})


def test_all_identities_are_tested_unless_the_model_was_trained_on_the_data(shop, people):
    root = ["DATASETS.ROOT_DIR", str(people.parent)]
    tested = load_cfg(None, [*root, "DATASETS.NAMES", people.name, "DATASETS.TARGETS", str(shop)])
    trained = load_cfg(None, [*root, "DATASETS.NAMES", str(shop)])
    assert num_test_ids(tested, {people.name: range(3)}) == 8
    assert num_test_ids(trained, {"shop": range(3)}) == 4
    assert num_test_ids(trained, {}) == 4
    # a checkpoint stores the names of its sources, not their paths
    assert num_test_ids(tested, {"shop": range(3)}) == 4


def test_evaluation_of_untrained_own_data_is_noted(straight, script, shop, tmp_path):
    arguments = ("DATASETS.TARGETS", shop, "OUTPUT_DIR", tmp_path)
    finished = script("test_clipreid.py", "TEST.WEIGHT", straight / "last.pth", *arguments)
    assert finished.status == 0, finished.output
    assert "shop: not trained on: all 8 identities are tested" in finished.output
    (target,) = json.loads((tmp_path / "results.json").read_text())["targets"].values()
    assert target["num_queries"] == 24  # 8 identities x 3 cameras
    assert target["notes"][0].startswith("not trained on: all 8 identities are tested")


def test_results_run_json_and_data_check_have_one_fingerprint(train_in, script, people, tmp_path):
    train_in(tmp_path / "run")
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    (result,) = json.loads((tmp_path / "run" / "results.json").read_text())["targets"].values()
    script("run.py", "data-check", people, "--json", tmp_path / "found.json")
    (found,) = json.loads((tmp_path / "found.json").read_text())["data"]
    expected = fingerprint([read_dataset(str(people), "")], TEST)
    assert result["fingerprint"] == expected
    assert record["targets"][0]["sha256"] == found["sha256"] == expected
    assert record["data"][0]["sha256"] == found["train_sha256"] != expected


TINY = (
    *("INPUT.SIZE_TRAIN", "[64, 32]", "INPUT.SIZE_TEST", "[64, 32]", "MODEL.DEVICE", "cpu"),
    *("SOLVER.STAGE2.MAX_EPOCHS", "2", "DSGL.ITERS", "1", "DATALOADER.NUM_WORKERS", "0"),
    *("SOLVER.STAGE2.IMS_PER_BATCH", "8", "DSGL.K1", "6", "DSGL.K2", "2", "DSGL.EPS", "0.6"),
    *("DSGL.MIN_SAMPLES", "2"),
)


def test_unlabelled_images_alone_train_without_evaluation(script, crops, tmp_path):
    arguments = ("DATASETS.NAMES", crops, "OUTPUT_DIR", tmp_path / "run", *TINY)
    finished = script("train_dsgl.py", "--config_file", "configs/dsgl/demo.yml", *arguments)
    assert finished.status == 0, finished.output
    assert "no labelled test images in crops: training without evaluation" in finished.unwrapped
    assert "DATASETS.TARGETS names a labelled data set" in finished.unwrapped
    assert (tmp_path / "run" / "last.pth").is_file()
    assert not (tmp_path / "run" / "results.json").exists()
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [("mAP" in line, json.loads(line)["epoch"]) for line in lines] == [
        (False, 1),
        (False, 2),
    ]
    again = script("train_dsgl.py", "--config_file", "configs/dsgl/demo.yml", *arguments)
    assert again.status == 0, again.output  # the first run is set aside


def test_unlabelled_images_are_no_fault_for_dsgl(script, crops, tmp_path):
    def faults_of(*options):
        finished = script("run.py", "data-check", crops, "--json", tmp_path / "x.json", *options)
        faults = json.loads((tmp_path / "x.json").read_text())["faults"]
        return finished.status, [f["kind"] for f in faults if f["severity"] == "error"]

    assert faults_of("DSGL.ENABLED", "True") == (0, [])
    status, errors = faults_of()
    assert status == 1
    assert "single identity" in errors


def test_unlabelled_images_train_and_another_data_set_is_evaluated(script, crops, people, tmp_path):
    finished = script(
        "train_dsgl.py",
        *("--config_file", "configs/dsgl/demo.yml", "DATASETS.NAMES", crops),
        *("DATASETS.TARGETS", people, "OUTPUT_DIR", tmp_path / "run", "MODEL.DEVICE", "cpu"),
        *("INPUT.SIZE_TRAIN", "[64, 32]", "INPUT.SIZE_TEST", "[64, 32]"),
        *("SOLVER.STAGE2.MAX_EPOCHS", "1", "DSGL.ITERS", "1", "DATALOADER.NUM_WORKERS", "0"),
        *("SOLVER.STAGE2.IMS_PER_BATCH", "8", "DSGL.K1", "6", "DSGL.K2", "2", "DSGL.EPS", "0.6"),
        *("DSGL.MIN_SAMPLES", "2"),
    )
    assert finished.status == 0, finished.output
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert list(results["targets"]) == [people.name]
    assert results["training"]["sources"] == ["crops"]


def test_target_for_training_only_is_named(straight, script, people, tmp_path):
    folder = tmp_path / "crowd"
    (folder / "train" / "7").mkdir(parents=True)
    (folder / "train" / "7" / "1.jpg").symlink_to(next((people / "query").glob("*.jpg")))
    finished = script(
        "test_clipreid.py", "TEST.WEIGHT", straight / "last.pth", "DATASETS.TARGETS", folder
    )
    assert finished.status == 1
    assert "data set crowd is for training only" in finished.output
    assert "0 queries" not in finished.output

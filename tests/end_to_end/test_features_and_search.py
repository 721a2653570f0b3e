"""From a trained checkpoint to features and searches, by the commands that users type."""

import json
import os
import shutil
import signal
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.registry import read_dataset
from processor.evaluation import evaluate_features
from processor.extractor import Extractor
from processor.search.stored_features import read_features
from processor.tools import extract

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def checkpoint(straight):
    return str(straight / "last.pth")


@pytest.fixture(scope="module")
def reported(straight, people):
    results = json.loads((straight / "results.json").read_text())
    return results["targets"][people.name]


@pytest.fixture
def data_root(people, monkeypatch):
    """`people` is found by its name."""
    monkeypatch.setenv("REID_DATA", str(people.parent))


def assert_scores(reported, query, gallery, ids):
    scores = evaluate_features(query, gallery, *ids)
    assert scores.mAP == pytest.approx(reported["mAP"], abs=1e-6)
    assert scores.mINP == pytest.approx(reported["mINP"], abs=1e-6)
    assert scores.rank(1) == pytest.approx(reported["cmc"]["1"], abs=1e-6)


def test_extractor_features_score_as_reported(checkpoint, people, reported):
    splits = read_dataset(people.name, people.parent)
    sides = (splits.query, splits.gallery)
    extractor = Extractor(checkpoint, "cpu")
    query, gallery = (extractor([sample.path for sample in side]) for side in sides)
    ids = [[getattr(s, name) for s in side] for name in ("pid", "camid") for side in sides]
    assert_scores(reported, query, gallery, ids)


@pytest.mark.usefixtures("data_root")
def test_extracted_splits_score_as_reported(script, checkpoint, people, reported, tmp_path):
    for split in ("query", "gallery"):
        place, output = f"{people.name}:{split}", tmp_path / f"{split}.npz"
        finished = script("run.py", "extract", checkpoint, place, "--output", output)
        assert finished.status == 0, finished.output
    query, gallery = (read_features(tmp_path / f"{split}.npz") for split in ("query", "gallery"))
    ids = (query.pids, gallery.pids, query.camids, gallery.camids)
    assert_scores(reported, query.features, gallery.features, ids)


@pytest.mark.usefixtures("data_root")
def test_side_information_is_that_of_the_evaluation(script, train_in, people, tmp_path):
    """A data set's cameras count where the model was trained on it."""
    options = ["MODEL.SIE_CAMERA", "True", "SOLVER.STAGE1.MAX_EPOCHS", "1"]
    train_in(tmp_path / "run", *options, "SOLVER.STAGE2.MAX_EPOCHS", "1")
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    checkpoint, stored = tmp_path / "run" / "last.pth", []
    for split in ("query", "gallery"):
        output = tmp_path / f"{split}.npy"
        finished = script(
            "run.py", "extract", checkpoint, f"{people.name}:{split}", "--output", output
        )
        assert finished.status == 0, finished.output
        stored.append(read_features(output))
    query, gallery = stored
    ids = (query.pids, gallery.pids, query.camids, gallery.camids)
    assert_scores(results["targets"][people.name], query.features, gallery.features, ids)
    unknown = Extractor(checkpoint, "cpu")(query.paths).numpy()
    assert np.abs(unknown - query.features).max() > 1e-4


def test_killed_extraction_resumes(start_script, script, checkpoint, people, tmp_path):
    """After SIGKILL the files equal those of an uninterrupted extraction."""
    arguments = ["extract", checkpoint, people, "--memmap", "TEST.IMS_PER_BATCH", "2"]
    arguments += ["DATALOADER.NUM_WORKERS", "0", "--output"]
    assert script("run.py", *arguments, tmp_path / "straight.npy").status == 0
    record = tmp_path / "killed.json"
    process = start_script("run.py", *arguments, tmp_path / "killed.npz")
    deadline = time.monotonic() + 60
    while not (record.is_file() and json.loads(record.read_text())["rows"] >= 20):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = json.loads(record.read_text())["images_done"]
    total = json.loads((tmp_path / "straight.json").read_text())["images"]
    assert 20 <= done < total
    finished = script("run.py", *arguments, tmp_path / "killed.npz")
    assert f"killed.npy: continuing after {done} of {total} images" in finished.unwrapped
    for ending in ("npy", "csv", "json"):
        files = [tmp_path / f"{name}.{ending}" for name in ("straight", "killed")]
        assert files[0].read_bytes() == files[1].read_bytes()


def test_search_in_a_folder_equals_search_in_its_features(script, checkpoint, people, tmp_path):
    gallery = people / "bounding_box_test"
    shutil.copy(sorted(gallery.iterdir())[3], tmp_path / "someone.jpg")
    found = []
    finished = script("run.py", "extract", checkpoint, gallery, "--output", tmp_path / "all.npz")
    assert finished.status == 0, finished.output
    for number, place in enumerate((gallery, tmp_path / "all.npz")):
        finished = script(
            *("run.py", "search", checkpoint, "--gallery", place, "--top", "4"),
            *("--query", tmp_path / "someone.jpg", "--output", tmp_path / str(number)),
        )
        assert finished.status == 0, finished.output
        found.append(json.loads((tmp_path / str(number) / "neighbours.json").read_text()))
        with Image.open(tmp_path / str(number) / "neighbours_1.png") as sheet:
            assert sheet.width > 4 * 92
    assert found[0]["queries"] == found[1]["queries"]
    (query,) = found[0]["queries"]
    assert [entry["rank"] for entry in query["nearest"]] == [1, 2, 3, 4]
    assert query["nearest"][0]["path"] == str(sorted(gallery.iterdir())[3])
    assert query["nearest"][0]["distance"] < 1e-5
    pair = Extractor(checkpoint, "cpu")([query["query"], query["nearest"][3]["path"]])
    distance = float((pair[0] - pair[1]).norm())
    assert query["nearest"][3]["distance"] == pytest.approx(distance, abs=2e-6)


def test_faiss_index_finds_the_same_images(script, checkpoint, people, tmp_path):
    pytest.importorskip("faiss")
    place, query = people / "bounding_box_test", sorted((people / "query").iterdir())[0]
    output = tmp_path / "features.npy"
    assert script("run.py", "extract", checkpoint, place, "--output", output).status == 0
    arguments = ["search", checkpoint, "--query", query, "--gallery", output, "--output"]
    assert script("run.py", *arguments, tmp_path / "exact").status == 0
    assert script("run.py", *arguments, tmp_path / "flat", "--index", "flat").status == 0
    exact, flat = (
        json.loads((tmp_path / name / "neighbours.json").read_text()) for name in ("exact", "flat")
    )
    assert exact["queries"] == flat["queries"]
    assert (exact["index"], flat["index"]) == ("none: exact", "flat")
    finished = script("run.py", *arguments, tmp_path / "ivfpq", "--index", "ivfpq")
    assert finished.status == 1
    assert "leave --index out" in finished.unwrapped


def test_features_of_another_checkpoint_are_rejected(
    script, straight, checkpoint, people, tmp_path
):
    query = sorted((people / "query").iterdir())[0]
    output = tmp_path / "features.npz"
    other = straight / "small_stage1_2.pth"
    assert script("run.py", "extract", other, people / "query", "--output", output).status == 0
    finished = script("run.py", "search", checkpoint, "--query", query, "--gallery", output)
    assert finished.status == 1
    assert "which cannot be compared with those of" in finished.unwrapped
    assert "weights differ" in finished.unwrapped


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (
            ["extract", "CHECKPOINT", "nothing"],
            "'nothing' is not a file, folder, CSV file or split",
        ),
        (["extract", "CHECKPOINT", "PEOPLE", "--output", "a.txt"], "must end in .npz or .npy"),
        (["extract", "gone.pth", "PEOPLE"], "no weights file gone.pth"),
        (["extract", "CHECKPOINT", "PEOPLE", "MODEL.DEVICE", "gpu"], "MODEL.DEVICE"),
        (["extract", "CHECKPOINT", "PEOPLE", "INPUT.SIZE"], "pairs KEY VALUE"),
        (["search", "CHECKPOINT", "--query", "README.md", "--gallery", "PEOPLE"], "README.md"),
        (["search", "CHECKPOINT", "--query", "PEOPLE", "--gallery", "a.npz"], "no features file"),
        (
            ["search", "CHECKPOINT", "--query", "PEOPLE", "--gallery", "a.npz", "PEOPLE"],
            "a.npz cannot be used together with other places",
        ),
    ],
)
def test_user_errors_are_one_line(script, checkpoint, people, words, named, monkeypatch):
    monkeypatch.chdir(ROOT)
    places = {"CHECKPOINT": checkpoint, "PEOPLE": people / "query"}
    finished = script("run.py", *(places.get(word, word) for word in words))
    assert finished.status == 1
    (line,) = [text for text in finished.unwrapped.splitlines() if text.startswith("error: ")]
    assert named in line
    assert "Traceback" not in finished.unwrapped


@pytest.mark.parametrize("suffix", [".npz", ".npy"])
def test_extraction_that_fails_on_its_first_image_does_not_refuse_the_others(
    script, checkpoint, people, tmp_path, suffix
):
    (tmp_path / "images").mkdir()
    broken = tmp_path / "images" / "0.jpg"
    broken.write_bytes(b"not an image")
    for number, path in enumerate(sorted((people / "query").glob("*.jpg"))[:3], start=1):
        shutil.copy(path, tmp_path / "images" / f"{number}.jpg")
    arguments = ["run.py", "extract", checkpoint, tmp_path / "images"]
    arguments += ["--output", tmp_path / f"features{suffix}"]
    finished = script(*arguments)
    assert finished.status == 1
    assert f"cannot decode the image {broken}" in finished.output
    broken.unlink()
    finished = script(*arguments)
    assert finished.status == 0, finished.output
    assert len(read_features(tmp_path / f"features{suffix}").paths) == 3


def test_extraction_with_rows_still_refuses_other_images(script, checkpoint, people, tmp_path):
    images = sorted((people / "query").glob("*.jpg"))[:2]
    arguments = ["run.py", "extract", checkpoint, "--output", tmp_path / "features.npy"]
    assert script(*arguments, images[0]).status == 0
    finished = script(*arguments, images[1])
    assert finished.status == 1
    assert "features.npy holds other features" in finished.output
    assert read_features(tmp_path / "features.npy").paths == [str(images[0])]


def test_signal_to_an_extraction_leaves_a_file_that_continues(
    start_script, script, checkpoint, people, tmp_path
):
    """The signal reaches the workers too."""
    images = sorted((people / "bounding_box_test").glob("*.jpg"))
    for number in range(600):
        (tmp_path / "images").mkdir(exist_ok=True)
        (tmp_path / "images" / f"{number}.jpg").symlink_to(images[number % len(images)])
    arguments = ["run.py", "extract", checkpoint, tmp_path / "images", "--output"]
    arguments += [tmp_path / "features.npy", "TEST.IMS_PER_BATCH", "2"]
    process = start_script(*arguments, "DATALOADER.NUM_WORKERS", "2")
    record = tmp_path / "features.json"
    while process.poll() is None:
        if record.is_file() and json.loads(record.read_text())["rows"] > 4:
            break
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGHUP)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 129, output
    assert "Traceback" not in output
    done = json.loads(record.read_text())["rows"]
    assert 4 < done < 600
    finished = script(*arguments)
    assert finished.status == 0, finished.output
    assert f"continuing after {done} of 600 images" in finished.unwrapped
    assert len(read_features(tmp_path / "features.npy").paths) == 600


@pytest.mark.parametrize(("name", "status"), [("SIGINT", 130), ("SIGUSR1", 138)])
def test_signal_stops_a_check_of_data_between_files(start_script, people, tmp_path, name, status):
    opts = ["DATASETS.ROOT_DIR", people.parent, "--json", tmp_path / "found.json"]
    for number in range(4000):
        folder = tmp_path / "own" / str(number % 20)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.jpg").symlink_to(next((people / "query").glob("*.jpg")))
    process = start_script("run.py", "data-check", tmp_path / "own", *opts)
    for line in iter(process.stdout.readline, ""):
        if "own" in line:
            break
    process.send_signal(signal.Signals[name])
    output, _ = process.communicate(timeout=60)
    assert process.returncode == status, output
    assert "Traceback" not in output
    assert not (tmp_path / "found.json").exists()


def test_shards_of_several_commands_join_to_one_command_s_file(
    script, checkpoint, people, tmp_path
):
    arguments = ["extract", checkpoint, people, "TEST.IMS_PER_BATCH", "16", "--output"]
    assert script("run.py", *arguments, tmp_path / "one.npy").status == 0
    for number in (1, 0):
        finished = script("run.py", *arguments, tmp_path / "two.npy", "--shard", f"{number}/2")
        assert finished.status == 0, finished.output
    found = []
    for gallery in ("one.npy", "two.shards"):
        options = ["--gallery", tmp_path / gallery, "--output", tmp_path / f"found_{gallery}"]
        query = next(people.glob("query/*.jpg"))
        finished = script("run.py", "search", checkpoint, "--query", query, *options)
        assert finished.status == 0, finished.output
        results = json.loads((tmp_path / f"found_{gallery}" / "neighbours.json").read_text())
        found.append(results["queries"])
    assert found[0] == found[1]
    assert script("run.py", *arguments, tmp_path / "two.npy", "--join").status == 0
    for ending in ("npy", "csv", "json"):
        files = [tmp_path / f"{name}.{ending}" for name in ("one", "two")]
        assert files[0].read_bytes() == files[1].read_bytes()


def test_tar_files_are_extracted_shard_by_shard(script, checkpoint, people, tmp_path):
    images = sorted(people.rglob("*.jpg"))[:12]
    for number in range(3):
        with tarfile.open(tmp_path / f"{number}.tar", "w") as tar:
            for image in images[4 * number : 4 * number + 4]:
                tar.add(image, image.name)
    tars = sorted(tmp_path.glob("*.tar"))
    whole = ["extract", checkpoint, *tars, "--output"]
    assert script("run.py", *whole, tmp_path / "one.npz").status == 0
    for number in range(2):
        shard = [tmp_path / "jobs.npz", "--shard", f"{number}/2"]
        assert script("run.py", *whole, *shard).status == 0
    assert len(list((tmp_path / "jobs.shards").glob("*-of-00003.done"))) == 3
    assert not (tmp_path / "one.shards").exists()
    assert script("run.py", *whole, tmp_path / "jobs.npz", "--join").status == 0
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "jobs.npz").read_bytes()
    again = script("run.py", *whole, tmp_path / "one.npz")
    assert again.status == 0
    assert "one.npz is already complete: 12 images" in again.unwrapped
    stored = read_features(tmp_path / "one.npz")
    inside = [f"{tmp_path}/{i // 4}.tar/{image.name}" for i, image in enumerate(images)]
    assert stored.paths == inside
    given = Extractor(checkpoint, "cpu")(list(map(str, images))).numpy()
    np.testing.assert_allclose(stored.features, given, atol=1e-5)


def test_shards_are_not_chosen_under_torchrun(script, checkpoint, people, tmp_path, monkeypatch):
    monkeypatch.setattr(extract.distributed, "size", lambda: 2)
    output = ["--output", tmp_path / "features.npz", "--shard", "0/2"]
    finished = script("run.py", "extract", checkpoint, people, *output)
    assert finished.status == 1
    assert "--shard: torchrun already divides the work" in finished.unwrapped


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--shard", "2/2"], "expected I/N with I from 0 to N - 1"),
        (["--shard", "0/2", "--append"], "--append: not with shards"),
        (["--join"], "no folder of shards"),
        (["--join", "--shard", "0/2"], "leave --shard out"),
    ],
)
def test_impossible_shards_are_refused(script, checkpoint, people, tmp_path, words, named, capsys):
    output = ["--output", tmp_path / "features.npz", *words]
    finished = script("run.py", "extract", checkpoint, people, *output)
    assert finished.status != 0
    assert named in finished.unwrapped + capsys.readouterr().err

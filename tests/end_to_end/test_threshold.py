"""`run.py threshold` finds the threshold by which `run.py compare` decides."""

import json

import numpy as np
import pytest
import torch

from processor.evaluation.build import open_evaluation
from processor.extractor import Extractor

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["plain", "with cameras"])
def trained(request, straight, train_in, tmp_path_factory):
    """Folder of a run; the second model has learned camera embeddings."""
    if request.param == "plain":
        return straight
    folder = tmp_path_factory.mktemp("cameras")
    epochs = ("SOLVER.STAGE1.MAX_EPOCHS", "1", "SOLVER.STAGE2.MAX_EPOCHS", "1")
    train_in(folder, "MODEL.SIE_CAMERA", "True", *epochs)
    return folder


@pytest.fixture(scope="module")
def folder(trained, script, tmp_path_factory):
    """The output folder of `run.py threshold`."""
    folder = tmp_path_factory.mktemp("thresholds")
    arguments = ("run.py", "threshold", trained / "last.pth", "--output", folder, "--far", "0.02")
    with pytest.MonkeyPatch.context() as patch:  # a model trained for a second is near chance
        patch.setattr("processor.results.threshold.MAX_EER", 1.0)
        done = script(*arguments, "TEST.RE_RANKING", "True", "TEST.FEAT_NORM", "False")
    assert done.status == 0, done.output
    assert "equal error rate" in done.unwrapped
    assert "recommended threshold" in done.unwrapped
    return folder


@pytest.fixture(scope="module")
def record(folder):
    (file,) = folder.glob("*.json")
    return json.loads(file.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def pairs(trained):
    """Distances of genuine and impostor pairs by the extractor, without cameras."""
    (target,) = open_evaluation(str(trained / "last.pth"), [], []).evaluator.targets
    query, gallery = target.splits[0].query, target.splits[0].gallery
    extractor = Extractor(trained / "last.pth", "cpu")
    sides = [extractor([sample.path for sample in side]).double() for side in (query, gallery)]
    distmat = torch.cdist(*sides).numpy()
    pids = [np.array([sample.pid for sample in side]) for side in (query, gallery)]
    camids = [np.array([sample.camid for sample in side]) for side in (query, gallery)]
    same = pids[0][:, None] == pids[1]
    junk = same & (camids[0][:, None] == camids[1])
    return distmat[same & ~junk], distmat[~same]


def test_rates_agree_with_the_extractors_distances(record, pairs):
    """Cameras are unknown to the model and features are normalized, as in `run.py compare`."""
    genuine, impostor = pairs
    assert (record["genuine_pairs"], record["impostor_pairs"]) == (len(genuine), len(impostor))
    for point in (record["eer"], record["recommended"], *record["tar_at_far"].values()):
        if point["threshold"] > 0:
            # a pair on the threshold may round either way
            assert np.mean(genuine <= point["threshold"]) == pytest.approx(point["tar"], abs=0.01)
            assert np.mean(impostor <= point["threshold"]) == pytest.approx(point["far"], abs=0.002)
    assert record["eer"]["far"] == pytest.approx(1 - record["eer"]["tar"], abs=0.02)
    assert "0.02" in record["tar_at_far"]


def test_plot_has_the_name_of_the_file(folder):
    (plot,) = folder.glob("*.png")
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert plot.stem == next(folder.glob("*.json")).stem


def test_images_are_compared_by_the_recommended_threshold(trained, folder, record, people, script):
    (file,) = folder.glob("*.json")
    first, second = sorted((people / "query").iterdir())[:2]
    arguments = ("run.py", "compare", trained / "last.pth", first, second, "MODEL.DEVICE", "cpu")
    done = script(*arguments, "--threshold", file)
    assert done.status == 0, done.output
    features = Extractor(trained / "last.pth", "cpu")([str(first), str(second)]).double()
    distance = float(torch.dist(*features))
    threshold, criterion = (record["recommended"][key] for key in ("threshold", "criterion"))
    decision = "SAME identity" if distance <= threshold else "DIFFERENT identities"
    assert f"{decision}: Euclidean distance {distance:.4f}" in done.unwrapped
    assert f"the threshold {threshold:.4f} ({file}: {criterion} on" in done.unwrapped


def test_an_image_is_the_same_identity_as_itself(straight, people, script):
    image = next((people / "query").iterdir())
    arguments = ("run.py", "compare", straight / "last.pth", image, image, "--threshold", 0)
    done = script(*arguments)
    assert "SAME identity: Euclidean distance 0.0000 is at most" in done.unwrapped


def test_threshold_of_another_checkpoint_is_rejected(trained, folder, people, script):
    (file,) = folder.glob("*.json")
    image = next((people / "query").iterdir())
    (other,) = trained.glob("*_stage1_*.pth")
    done = script("run.py", "compare", other, image, image, "--threshold", file)
    assert done.status == 1
    assert "whose features are not those of this model: weights differ" in done.unwrapped
    same = ("run.py", "compare", trained / "last.pth", image, image, "--threshold", file)
    done = script(*same, "TEST.NECK_FEAT", "after")
    assert done.status == 1
    assert "TEST.NECK_FEAT differ" in done.unwrapped


def test_user_errors_are_named(straight, script, people, tmp_path):
    done = script("run.py", "threshold", straight / "last.pth", "--far", 0, "--output", tmp_path)
    assert done.status == 1
    assert "--far: expected above 0 and below 1, got 0.0" in done.unwrapped
    image = next((people / "query").iterdir())
    done = script("run.py", "compare", straight / "last.pth", image, tmp_path / "none.jpg")
    assert done.status == 1
    assert "none.jpg" in done.unwrapped


def test_no_threshold_is_recommended_near_chance(straight, script, monkeypatch, tmp_path):
    monkeypatch.setattr("processor.results.threshold.MAX_EER", 0.0)
    done = script("run.py", "threshold", straight / "last.pth", "--output", tmp_path)
    assert done.status == 1
    assert "no threshold recommended; " in done.unwrapped
    assert "the distances do not separate identities: the equal error rate is" in done.unwrapped
    assert "recommended threshold" not in done.unwrapped
    (file,) = tmp_path.glob("*.json")
    record = json.loads(file.read_text(encoding="utf-8"))
    assert record["recommended"] is None
    assert record["eer"]["value"] > 0
    assert file.with_suffix(".png").is_file()

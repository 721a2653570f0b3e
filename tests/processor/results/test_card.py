"""A model card says what was measured, and nothing else."""

import json
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from config import ConfigError
from processor.results.card import PublishedModel, find_results, write_card
from processor.results.files import to_markdown

SCORES = {"mAP": 0.7012, "mINP": 0.25, "cmc": {"1": 0.8549, "5": 0.9, "10": 1.0}}
RESULTS = {
    "targets": {
        "market1501": {
            **SCORES,
            "num_queries": 10,
            "num_valid_queries": 9,
            "splits": 1,
            "notes": [],
            "fingerprint": "ab" * 32,
        }
    },
    "average": SCORES,
    "checkpoint": "/home/someone/last.pth",
    "protocol": {"normalized": True, "ignore_same_camera": True, "rerank": None},
    "neck_feature": "before",
    "training": {"sources": ["msmt17"], "use_all": False},
}
MODEL = PublishedModel("a: title", "ViT-B-16", (256, 128), ("msmt17",), labels=True)


def test_card_has_the_scores_of_the_results():
    text = write_card(MODEL, RESULTS)
    (entry,) = [x for x in ModelCard(text).data.eval_results if x.metric_name == "mAP"]
    assert (entry.dataset_name, entry.metric_value) == ("market1501", 70.12)
    (entry,) = [x for x in ModelCard(text).data.eval_results if x.metric_name == "Rank-1"]
    assert entry.metric_value == 85.49
    assert to_markdown({**RESULTS, "checkpoint": "last.pth"}) in text
    assert "/home/someone" not in text


def test_card_of_a_model_without_results_says_so():
    text = write_card(MODEL, None)
    data = ModelCard(text).data
    assert (data.eval_results, data.library_name, data.license) == (None, "clipreid", None)
    assert "Not evaluated" in text
    assert "mAP" not in text


def test_card_names_input_and_training():
    assert "(ViT-B-16, inputs of 256x128 pixels),\ntrained on msmt17 with identity labels" in (
        write_card(MODEL, None)
    )
    other = PublishedModel("b", "", (64, 32), (), labels=False)
    assert "(an architecture of its own, inputs of 64x32 pixels),\ntrained on unknown data" in (
        write_card(other, None)
    )


@pytest.fixture
def run(tmp_path):
    """A run folder with the results of `last`."""
    (tmp_path / "results.json").write_text(json.dumps({**RESULTS, "checkpoint": "last"}))
    return tmp_path


def test_results_of_the_run_are_those_of_its_last_checkpoint(run):
    assert find_results(run / "last.pth", "before")["targets"] == RESULTS["targets"]
    assert find_results(run / "best.pth", "before") is None
    assert find_results(run / "last.pth", "after") is None
    assert find_results(Path("elsewhere/last.pth"), "before") is None


def test_given_results_must_be_of_the_checkpoint(run):
    given = run / "results.json"
    assert find_results(Path("last.pth"), "before", given)["neck_feature"] == "before"
    with pytest.raises(ConfigError, match=r"is of last, features before .* expected best, before"):
        find_results(run / "best.pth", "before", given)
    with pytest.raises(ConfigError, match="--results: no file"):
        find_results(run / "last.pth", "before", run / "gone.json")


def test_results_of_another_epoch_are_not_published(run, caplog):
    checkpoint, path = run / "last.pth", run / "results.json"
    results = {**json.loads(path.read_text()), "epoch": 2}
    path.write_text(json.dumps(results))
    assert find_results(checkpoint, results["neck_feature"], epoch=2)["epoch"] == 2
    assert find_results(checkpoint, results["neck_feature"], epoch=7) is None
    assert "is of epoch 2 and these weights of epoch 7" in caplog.text
    with pytest.raises(ConfigError, match=r"is of epoch 2, and .*last\.pth of epoch 7"):
        find_results(checkpoint, results["neck_feature"], path, epoch=7)

"""Thresholds: the recommendation, its file, and the models that may use the file."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from processor.metrics.pair_counts import NONE_ACCEPTED, OperatingPoint, PairCounts
from processor.metrics.verification import Verification
from processor.results.threshold import (
    explain_no_threshold,
    read_threshold,
    recommend,
    threshold_record,
    to_euclidean,
)
from processor.tools.compare import decide
from processor.tools.threshold import describe

MODEL = {"weights": "abc", "TEST.NECK_FEAT": "before"}


def found(num_impostor, far=0.05, tar=0.93):
    """Two thresholds, at squared distances 0.25 (equal errors) and 0.09."""
    counts = PairCounts(np.zeros(1, dtype=np.float32), np.ones(1), np.ones(1))
    equal = OperatingPoint(0.25, far=far, tar=tar)
    at_far = {1e-3: OperatingPoint(0.09, far=9e-4, tar=0.5)}
    return Verification(counts, 100, num_impostor, equal, at_far)


def test_requested_rate_is_recommended_if_it_can_be_measured():
    best = recommend(found(30_000), 1e-3)
    assert best.point.threshold == pytest.approx(0.3)
    assert (best.point.far, best.point.tar) == (9e-4, 0.5)
    assert best.criterion == "false accept rate 0.001"


def test_equal_errors_are_recommended_with_too_few_pairs():
    best = recommend(found(29_999), 1e-3)
    assert best.point.threshold == pytest.approx(0.5)
    assert best.criterion == (
        "equal error rate, as measuring a false accept rate of 0.001 takes 30,000 impostor pairs "
        "and there are 29,999"
    )


@pytest.mark.parametrize("num_impostor", [100, 50_000])
def test_nothing_is_recommended_near_chance(num_impostor):
    chance = found(num_impostor, far=0.45, tar=0.57)
    assert recommend(chance, 1e-3) is None
    assert threshold_record(chance, 1e-3)["recommended"] is None
    assert explain_no_threshold(chance) == (
        "the distances do not separate identities: the equal error rate is 44.0%, and guessing has "
        "50%"
    )
    assert not any("recommended" in line for line in describe(chance, None))
    assert recommend(found(num_impostor, far=0.4, tar=0.6), 1e-3) is not None


def test_negative_threshold_stays_negative():
    assert to_euclidean(OperatingPoint(NONE_ACCEPTED, 0, 0)).threshold < 0
    assert to_euclidean(OperatingPoint(0.0, 0, 0)).threshold == 0


def test_record_has_distances_and_numbers_of_pairs():
    record = threshold_record(found(50_000), 1e-3)
    assert record["recommended"] == {
        "threshold": math.sqrt(0.09),
        "far": 9e-4,
        "tar": 0.5,
        "criterion": "false accept rate 0.001",
    }
    assert record["eer"].pop("value") == pytest.approx((0.05 + 0.07) / 2)
    assert record["eer"] == {"threshold": 0.5, "far": 0.05, "tar": 0.93}
    assert (record["genuine_pairs"], record["impostor_pairs"]) == (100, 50_000)
    assert record["tar_at_far"]["0.001"]["measured"] is True
    assert json.loads(json.dumps(record)) == record


@pytest.fixture
def file(tmp_path):
    record = {**threshold_record(found(50_000), 1e-3), "data": "street", "checkpoint": "a/last.pth"}
    path = tmp_path / "street.json"
    path.write_text(json.dumps({**record, "model": MODEL}), encoding="utf-8")
    return path


def test_file_is_read_for_its_model(file):
    threshold = read_threshold(str(file), MODEL)
    assert threshold.value == math.sqrt(0.09)
    assert threshold.origin == f"{file}: false accept rate 0.001 on street"


def test_file_without_a_recommendation_is_rejected(tmp_path):
    record = threshold_record(found(50_000, far=0.45, tar=0.57), 1e-3)
    path = tmp_path / "street.json"
    content = {**record, "data": "street", "checkpoint": "a/last.pth", "model": MODEL}
    path.write_text(json.dumps(content), encoding="utf-8")
    text = r"recommends no threshold, .* identities of street \(equal error rate 44\.0%\)"
    with pytest.raises(ValueError, match=text):
        read_threshold(str(path), MODEL)


@pytest.mark.parametrize(
    ("key", "value"), [("weights", "xyz"), ("TEST.NECK_FEAT", "after"), ("MODEL.NEW", "1")]
)
def test_file_of_other_features_is_rejected(file, key, value):
    with pytest.raises(
        ValueError, match=rf"belongs to a/last\.pth, .* {key} differ; run run\.py threshold"
    ):
        read_threshold(str(file), {**MODEL, key: value})


def test_number_is_a_threshold():
    assert read_threshold("0.75", MODEL).value == 0.75


def test_other_files_are_rejected(tmp_path):
    with pytest.raises(FileNotFoundError, match="is neither a number nor a file"):
        read_threshold(str(tmp_path / "nothing.json"), MODEL)
    path = tmp_path / "some.json"
    for text, message in (
        ("{", "is not a JSON file"),
        ("[]", "was not written by"),
        ("{}", "was not"),
    ):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(ValueError, match=message):
            read_threshold(str(path), MODEL)


def test_decision_gives_distance_threshold_and_origin():
    threshold = read_threshold("0.5", MODEL)
    assert decide(0.5, threshold) == (
        "SAME identity: Euclidean distance 0.5000 is at most the threshold 0.5000 (as given)"
    )
    assert decide(0.75, threshold) == (
        "DIFFERENT identities: Euclidean distance 0.7500 exceeds the threshold 0.5000 (as given)"
    )
    assert decide(0.75, None).startswith("Euclidean distance 0.7500; for a decision give --thresh")


@pytest.mark.parametrize(
    ("block", "change", "message"),
    [
        ("recommended", {"threshold": float("nan")}, "threshold nan.*do not separate"),
        ("recommended", {"threshold": float("inf")}, "threshold inf"),
        ("recommended", {"threshold": -1.0}, "threshold -1.0.*cannot tell identities apart"),
        ("recommended", {"threshold": 2.1}, "threshold 2.1"),
        ("recommended", {"threshold": "0.5"}, "threshold is '0.5'"),
        ("recommended", {"threshold": True}, "threshold is 'True'"),
        ("recommended", {"criterion": None}, "criterion is 'None'"),
        ("eer", {"value": []}, "value is"),
        (None, {"recommended": 5}, "recommended is '5'"),
        (None, {"eer": None}, "eer is"),
        (None, {"model": "a"}, "model is 'a'"),
        (None, {"data": 7}, "data is '7'"),
        (None, {"checkpoint": None}, "checkpoint is"),
    ],
)
def test_damaged_field_is_named(file, block, change, message):
    record = json.loads(file.read_text(encoding="utf-8"))
    record = {**record, **(change if block is None else {block: {**record[block], **change}})}
    file.write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(ValueError, match=rf"^--threshold: {file}.* {message}"):
        read_threshold(str(file), MODEL)


def test_threshold_below_every_distance_is_not_recommended():
    """All impostors at distance 0: equal images would be called different."""
    verification = found(10**6)
    point = replace(verification.at_far[0.001], threshold=-1.0)
    verification = replace(verification, at_far={0.001: point})
    assert recommend(verification, 0.001) is None
    assert explain_no_threshold(verification).startswith("the distances do not")


@pytest.mark.parametrize("given", ["-0.1", "2.5", "99", "inf", "nan"])
def test_number_that_is_no_distance_is_rejected(given):
    with pytest.raises(ValueError, match="expected a distance between features of length 1, 0 to"):
        read_threshold(given, {})

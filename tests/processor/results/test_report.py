"""Reports as numbers, JSON, CLIP-ReID's lines and a table."""

import json
from dataclasses import replace

import numpy as np
import pytest

from processor.metrics.ranking import RetrievalMetrics
from processor.results.report import (
    EvaluationReport,
    TargetResult,
    closing_table,
    format_table,
    result_lines,
)


def metrics(mean_ap, cmc, queries=10, valid=8):
    return RetrievalMetrics(np.array(cmc), mean_ap, mean_ap / 2, queries, valid)


SHORT = [0.5, 0.625, 0.75]  # a gallery of three: the curve holds its last value
LONG = [0.951, 0.96, 0.97, 0.98, 0.99, 1.0]


@pytest.fixture
def report():
    one = TargetResult("market1501", [metrics(0.886, LONG, 3368, 3368)])
    two = TargetResult("own", [metrics(0.4, SHORT), metrics(0.6, SHORT)], ("a remark",))
    return EvaluationReport([one, two])


def test_json_has_targets_and_their_average(report):
    content = json.loads(json.dumps(report.as_dict()))
    assert set(content) == {"targets", "average"}
    assert list(content["targets"]) == ["market1501", "own"]
    own = content["targets"]["own"]
    assert set(own) >= {"mAP", "mINP", "cmc", "num_queries", "num_valid_queries", "splits"}
    assert own["mAP"] == pytest.approx(0.5)
    assert own["mINP"] == pytest.approx(0.25)
    assert own["cmc"] == {"1": 0.5, "5": 0.75, "10": 0.75}
    assert (own["num_queries"], own["num_valid_queries"], own["splits"]) == (10, 8, 2)
    assert content["targets"]["market1501"]["std"] is None  # a single split has no deviation
    assert own["std"]["mAP"] == pytest.approx(0.1)
    assert own["std"]["cmc"] == {"1": 0, "5": 0, "10": 0}
    assert own["notes"] == ["a remark"]
    assert set(content["average"]) == {"mAP", "mINP", "cmc"}
    assert content["average"]["mAP"] == pytest.approx((0.886 + 0.5) / 2)
    assert content["average"]["cmc"]["10"] == pytest.approx((1 + 0.75) / 2)


def test_scalars_are_the_average_and_the_scores_per_target(report):
    scalars = report.scalars()
    assert scalars["mAP"] == pytest.approx(0.693)
    assert scalars["own/rank1"] == 0.5
    alone = EvaluationReport(report.targets[:1])
    assert set(alone.scalars()) == {"mAP", "mINP", "rank1", "rank5", "rank10"}
    assert all(type(value) is float for value in scalars.values())


def test_lines_are_clip_reids(report):
    lines = result_lines(report.targets[0])
    assert "mAP: 88.6%" in lines
    assert "CMC curve, Rank-1  :95.1%" in lines
    assert "CMC curve, Rank-5  :99.0%" in lines
    assert "CMC curve, Rank-10 :100.0%" in lines
    assert lines[-1].startswith("3368 of 3368 queries counted, 0 dropped")


def test_lines_give_the_numbers_of_splits_and_dropped_queries(report):
    lines = result_lines(report.targets[1])
    assert lines[0] == "Validation Results on own, mean of 2 splits"
    assert lines[-1].startswith("8 of 10 queries counted, 2 dropped")


def test_table_groups_models_by_target(report):
    table = format_table([("before", report.as_dict()), ("trained", report.as_dict())])
    rows = [line.split() for line in table.splitlines()]
    assert rows[0] == ["target", "model", "mAP", "Rank-1", "Rank-5", "Rank-10", "mINP", "queries"]
    assert [row[:3] for row in rows[2:]] == [
        ["market1501", "before", "88.6%"],
        ["market1501", "trained", "88.6%"],
        ["own", "before", "50.0%"],
        ["own", "trained", "50.0%"],
        ["average", "before", "69.3%"],
        ["average", "trained", "69.3%"],
    ]
    assert rows[2][-1] == "3368/3368"
    assert rows[4][3:5] == ["±", "10.0"]
    assert rows[4][-4:] == ["8/10", "in", "2", "splits"]
    assert len({len(line) for line in table.splitlines() if not line.startswith("average")}) == 1


def test_one_target_has_no_average_row(report):
    table = format_table([("trained", EvaluationReport(report.targets[:1]).as_dict())])
    assert "average" not in table


def test_identities_of_own_data_are_listed_by_name():
    scored = replace(metrics(0.5, SHORT), by_pid={0: 0.25, 3: 0.75})
    own = TargetResult("own", [scored], names={0: "Moby", 3: "Özil"})
    content = EvaluationReport([own]).as_dict()["targets"]["own"]
    assert content["mAP_of_identities"] == {"Moby": 0.25, "Özil": 0.75}
    benchmark = TargetResult("market1501", [scored])
    assert (
        "mAP_of_identities" not in EvaluationReport([benchmark]).as_dict()["targets"]["market1501"]
    )


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"targets": {"a": 1}}', "null"])
def test_damaged_results_before_training_are_left_out_with_a_warning(
    report, tmp_path, caplog, content
):
    before = tmp_path / "results_before_training.json"
    expected = closing_table(report, before)
    assert not caplog.records
    before.write_text(content)
    assert closing_table(report, before) == expected
    if content != '{"targets": {"a": 1}}':  # of other targets
        assert f"{before} is damaged and left out" in caplog.text

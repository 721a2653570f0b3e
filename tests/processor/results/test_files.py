"""results.json, results.csv and results.md say the same, and what a reader must know."""

import csv
import io
import json

import numpy as np
import pytest

from processor.metrics.ranking import RetrievalMetrics
from processor.results.files import COLUMNS, keep_results, save_results, to_csv, to_markdown
from processor.results.report import EvaluationReport, TargetResult

FINGERPRINTS = {"market1501": "ab" * 32, "cuhk03": "cd" * 32, "viper": "0123456789abcdef" * 4}
FLAVOUR = "CUHK03 detected, new protocol (767/700 identities)"
COUNTS = 'looks like "V2", 3 images missing'


def metrics(mean_ap, rank1, queries=10, valid=8):
    cmc = np.array([rank1] * 4 + [0.9] * 5 + [1])
    return RetrievalMetrics(cmc, mean_ap, mean_ap / 3, queries, valid)


def make_results(**changes):
    """The content of results.json of a run on three targets; the last one has two splits."""
    report = EvaluationReport(
        [
            TargetResult("market1501", [metrics(0.701, 0.85, 3368, 3368)], (), 0, "ab" * 32),
            TargetResult("cuhk03", [metrics(1 / 3, 0.4)], (FLAVOUR, COUNTS), 0, "cd" * 32),
            TargetResult(
                "viper", [metrics(0.5, 0.25), metrics(0.625, 0.5)], (), 0, FINGERPRINTS["viper"]
            ),
        ]
    )
    return {
        **report.as_dict(),
        "checkpoint": "runs/a/last.pth",
        "protocol": {
            "normalized": True,
            "ignore_same_camera": True,
            "rerank": None,
            "multi_query": False,
        },
        "neck_feature": "before",
        "autocast": "off",
        "training": {"sources": ["msmt17", "cuhk_sysu"], "use_all": False},
        **changes,
    }


def scores_in_percent(part):
    """What the columns of a row should hold, out of a part of results.json."""
    cmc = [part["cmc"][rank] for rank in ("1", "5", "10")]
    return [100 * share for share in (part["mAP"], *cmc, part["mINP"])]


def read_csv(results):
    return list(csv.DictReader(io.StringIO(to_csv(results)), strict=True))


def read_markdown(results):
    """Rows of the table, head first, and the remarks below it."""
    lines = to_markdown(results).splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert all(line.endswith("|") for line in rows)
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in rows]
    return cells, [line for line in lines if line.startswith("* ")]


# ---------------------------------------------------------------------------------------- csv


def test_csv_has_a_row_per_target_and_their_average():
    assert [row["target"] for row in read_csv(make_results())] == [
        "market1501",
        "cuhk03",
        "viper",
        "average",
    ]


def test_csv_holds_the_numbers_of_the_json_in_percent():
    results = make_results()
    content = json.loads(json.dumps(results))
    for row in read_csv(results)[:-1]:
        target = content["targets"][row["target"]]
        assert [float(row[column]) for column in COLUMNS] == scores_in_percent(target)
        deviations = [float(row[f"{column} std"]) for column in COLUMNS]
        assert deviations == scores_in_percent(target["std"])
        assert int(row["splits"]) == target["splits"]
        assert int(row["queries"]) == target["num_queries"]
        assert int(row["valid queries"]) == target["num_valid_queries"]


def test_csv_by_hand():
    viper = read_csv(make_results())[2]
    assert [float(viper[name]) for name in ("mAP", "Rank-1", "mAP std", "Rank-1 std")] == [
        56.25,
        37.5,
        6.25,
        12.5,
    ]
    assert (viper["splits"], viper["queries"], viper["valid queries"]) == ("2", "10", "8")


def test_average_row_is_the_mean_of_the_rows():
    *targets, average = read_csv(make_results())
    for column in COLUMNS:
        mean = np.mean([float(row[column]) for row in targets])
        assert float(average[column]) == pytest.approx(mean, rel=1e-12)
    assert average["mAP std"] == average["splits"] == average["data sha256"] == ""


def test_csv_says_how_the_scores_were_made():
    rows = read_csv(make_results())[:-1]
    for row in rows:
        assert row["checkpoint"] == "runs/a/last.pth"
        assert row["trained on"] == "msmt17, cuhk_sysu"
        assert row["features"] == "L2-normalized, before the neck"
        assert row["re-ranking"] == "none"
        assert row["queries are"] == "single images"
        assert row["same-camera junk"] == "left out"
        assert row["data sha256"] == FINGERPRINTS[row["target"]]
    assert [row["notes"] for row in rows] == ["", f"{FLAVOUR}; {COUNTS}", ""]


def test_published_protocol_is_named_where_there_is_one():
    results = make_results(published_protocol="P1 with DukeMTMC")
    assert [row["published protocol"] for row in read_csv(results)[:-1]] == ["P1 with DukeMTMC"] * 3
    assert read_markdown(results)[1][0] == "* published protocol: P1 with DukeMTMC"
    for results in (make_results(), make_results(published_protocol="")):
        assert read_csv(results)[0]["published protocol"] == ""
        assert not any("protocol:" in remark for remark in read_markdown(results)[1])


OTHER_WAYS = {
    "protocol": {
        "normalized": False,
        "ignore_same_camera": False,
        "rerank": [20, 6, 0.3],
        "multi_query": True,
    },
    "neck_feature": "after",
    "training": {"sources": ["msmt17", "cuhk_sysu"], "use_all": True},
}


def test_csv_says_what_was_done_in_another_way():
    row = read_csv(make_results(**OTHER_WAYS))[0]
    assert row["trained on"] == "msmt17, cuhk_sysu (all images)"
    assert row["features"] == "not L2-normalized, after the neck"
    assert row["re-ranking"] == "[20, 6, 0.3]"
    assert row["queries are"] == "pooled"
    assert row["same-camera junk"] == "kept"


def test_model_of_unknown_training():
    """A checkpoint of CLIP-ReID itself does not say what it was trained on."""
    results = make_results(training={"sources": [], "use_all": False})
    assert read_csv(results)[0]["trained on"] == "unknown"
    assert "* trained on: unknown" in read_markdown(results)[1]


# ----------------------------------------------------------------------------------- markdown


def test_markdown_table():
    results = make_results()
    (head, rule, *rows), _ = read_markdown(results)
    assert head == ["target", *COLUMNS, "splits", "queries"]
    assert rule == ["---"] * len(head)
    assert [len(row) for row in rows] == [len(head)] * 4
    assert rows[0] == ["market1501", "70.1", "85.0", "90.0", "100.0", "23.4", "1", "3368/3368"]
    assert rows[2][:3] == ["viper", "56.2 ± 6.2", "37.5 ± 12.5"]
    assert rows[2][-2:] == ["2", "8/10"]
    assert rows[3][0] == "average"
    assert rows[3][-2:] == ["", ""]
    for row, numbers in zip(rows[:3], results["targets"].values(), strict=True):
        means = [float(cell.split(" ± ")[0]) for cell in row[1:6]]
        assert means == pytest.approx(scores_in_percent(numbers), abs=0.0501)
    average = [float(cell) for cell in rows[3][1:6]]
    assert average == pytest.approx(scores_in_percent(results["average"]), abs=0.0501)


def test_markdown_says_how_the_scores_were_made():
    _, remarks = read_markdown(make_results())
    assert remarks == [
        "* checkpoint: runs/a/last.pth",
        "* trained on: msmt17, cuhk_sysu",
        "* features: L2-normalized, before the neck",
        "* re-ranking: none",
        "* queries are: single images",
        "* same-camera junk: left out",
        f"* market1501: data {'ab' * 8}",
        f"* cuhk03: {FLAVOUR}; {COUNTS}; data {'cd' * 8}",
        "* viper: data 0123456789abcdef",
    ]


def test_markdown_says_that_all_images_were_trained_on():
    _, remarks = read_markdown(make_results(**OTHER_WAYS))
    assert "* trained on: msmt17, cuhk_sysu (all images)" in remarks
    assert "* features: not L2-normalized, after the neck" in remarks
    assert "* same-camera junk: kept" in remarks


# -------------------------------------------------------------------------------------- files


def test_three_files_of_one_content(tmp_path):
    results = make_results()
    save_results(tmp_path, results)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "results.csv",
        "results.json",
        "results.md",
    ]
    assert json.loads((tmp_path / "results.json").read_text(encoding="utf-8")) == results
    assert (tmp_path / "results.csv").read_text(encoding="utf-8") == to_csv(results)
    assert (tmp_path / "results.md").read_text(encoding="utf-8") == to_markdown(results)


def test_earlier_results_are_kept(tmp_path):
    for number in range(3):
        keep_results(tmp_path)
        save_results(tmp_path, make_results(checkpoint=f"{number}.pth"))
    names = {path.name for path in tmp_path.iterdir()}
    kept = {"0.pth": "results_1", "1.pth": "results_2", "2.pth": "results"}
    assert names == {f"{stem}.{end}" for stem in kept.values() for end in ("json", "csv", "md")}
    for checkpoint, stem in kept.items():
        for end in ("json", "csv", "md"):
            assert checkpoint in (tmp_path / f"{stem}.{end}").read_text(encoding="utf-8")


def test_results_without_tables_are_kept_too(tmp_path):
    """Of a version that wrote results.json only."""
    (tmp_path / "results.json").write_text("{}")
    (tmp_path / "results_before_training.json").write_text("untrained")
    keep_results(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "results_1.json",
        "results_before_training.json",
    ]
    keep_results(tmp_path)  # nothing is left to keep
    assert (tmp_path / "results_1.json").read_text() == "{}"

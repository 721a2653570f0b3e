"""results.json and results.md have the same numbers and say how they were made."""

import json
import os

import numpy as np
import pytest

from processor.metrics.ranking import RetrievalMetrics
from processor.results.files import COLUMNS, save_evaluation, save_results, to_markdown
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
        "number_format": "float32",
        "training": {"sources": ["msmt17", "cuhk_sysu"], "use_all": False},
        **changes,
    }


def scores_in_percent(part):
    """The expected numbers of a row, from an entry of results.json."""
    cmc = [part["cmc"][rank] for rank in ("1", "5", "10")]
    return [100 * share for share in (part["mAP"], *cmc, part["mINP"])]


def read_markdown(results):
    """Rows of the table with its head, and the remarks below it."""
    lines = to_markdown(results).splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert all(line.endswith("|") for line in rows)
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in rows]
    return cells, [line for line in lines if line.startswith("* ")]


def test_table_has_the_numbers_of_the_json_in_percent():
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


def test_remarks_say_how_the_scores_were_made():
    _, remarks = read_markdown(make_results())
    assert remarks == [
        "* checkpoint: runs/a/last.pth",
        "* trained on: msmt17, cuhk_sysu",
        "* features: L2-normalized, before the neck",
        "* number format: float32",
        "* re-ranking: none",
        "* queries are: single images",
        "* same-camera junk: left out",
        f"* market1501: data {'ab' * 8}",
        f"* cuhk03: {FLAVOUR}; {COUNTS}; data {'cd' * 8}",
        "* viper: data 0123456789abcdef",
    ]


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


def test_remarks_name_other_ways_of_scoring_and_training():
    _, remarks = read_markdown(make_results(**OTHER_WAYS))
    assert "* trained on: msmt17, cuhk_sysu (all images)" in remarks
    assert "* features: not L2-normalized, after the neck" in remarks
    assert "* same-camera junk: kept" in remarks
    assert "* re-ranking: [20, 6, 0.3]" in remarks
    assert "* queries are: pooled" in remarks


def test_published_protocol_is_named_if_there_is_one():
    results = make_results(published_protocol="P1 with DukeMTMC")
    assert read_markdown(results)[1][0] == "* published protocol: P1 with DukeMTMC"
    for results in (make_results(), make_results(published_protocol="")):
        assert not any("protocol:" in remark for remark in read_markdown(results)[1])


def test_unknown_training_data_are_called_unknown():
    """CLIP-ReID's checkpoints do not record their training data."""
    results = make_results(training={"sources": [], "use_all": False})
    assert "* trained on: unknown" in read_markdown(results)[1]


def test_deviations_are_shown_for_several_splits_only():
    (_, _, *rows), _ = read_markdown(make_results())
    assert all("±" in cell for cell in rows[2][1:6])
    assert not any("±" in cell for row in (rows[0], rows[1], rows[3]) for cell in row)


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_results_are_saved_as_json_and_markdown(tmp_path):
    results = make_results()
    assert save_results(tmp_path, results) == tmp_path / "results.json"
    assert names_in(tmp_path) == ["results.json", "results.md"]
    assert json.loads((tmp_path / "results.json").read_text(encoding="utf-8")) == results
    assert (tmp_path / "results.md").read_text(encoding="utf-8") == to_markdown(results)


def test_evaluations_in_another_folder_number_the_earlier_ones(tmp_path):
    for number in range(3):
        path = save_evaluation(tmp_path, make_results(checkpoint=f"{number}.pth"))
        assert path == tmp_path / "results.json"
    kept = {"0.pth": "results_1", "1.pth": "results_2", "2.pth": "results"}
    assert names_in(tmp_path) == sorted(
        f"{x}.{end}" for x in kept.values() for end in ("json", "md")
    )
    for checkpoint, stem in kept.items():
        for end in ("json", "md"):
            assert checkpoint in (tmp_path / f"{stem}.{end}").read_text(encoding="utf-8")


def test_results_of_training_keep_their_name(tmp_path, caplog):
    (tmp_path / "run.json").write_text("{}")
    save_results(tmp_path, make_results(checkpoint="last"))
    stem = "results_last_on_market1501+cuhk03+viper"
    with caplog.at_level("INFO"):
        for neck in ("before", "after"):
            results = make_results(checkpoint="runs/a/last.pth", neck_feature=neck)
            assert save_evaluation(tmp_path, results) == tmp_path / f"{stem}.json"
    stems = ("results", stem, f"{stem}_1")
    expected = [*(f"{x}.{end}" for x in stems for end in ("json", "md")), "run.json"]
    assert names_in(tmp_path) == sorted(expected)
    necks = [
        json.loads((tmp_path / f"{x}.json").read_text(encoding="utf-8"))["neck_feature"]
        for x in stems
    ]
    assert necks == ["before", "after", "before"]
    assert f"earlier results renamed to {tmp_path / stem}_1.json" in caplog.text


def test_results_before_the_end_of_training_do_not_take_its_name(tmp_path):
    (tmp_path / "run.json").write_text("{}")
    results = make_results(checkpoint="ViT-B-16_20.pth")
    entry = results["targets"]["viper"]
    results["targets"] = {f"shop{number}": entry for number in range(5)}
    assert save_evaluation(tmp_path, results).name == "results_ViT-B-16_20_on_5_targets.json"


def test_results_without_a_table_are_kept_too(tmp_path):
    """As earlier versions wrote them."""
    (tmp_path / "results.json").write_text("{}")
    (tmp_path / "results_before_training.json").write_text("before")
    save_evaluation(tmp_path, make_results())
    assert names_in(tmp_path) == [
        "results.json",
        "results.md",
        "results_1.json",
        "results_before_training.json",
    ]
    assert (tmp_path / "results_1.json").read_text() == "{}"
    assert (tmp_path / "results_before_training.json").read_text() == "before"


def test_names_of_targets_and_sources_cannot_change_the_markdown():
    name = "a|b<script>\n| x | 99 |" + os.fsdecode(b"\xe9")
    results = make_results(training={"sources": [name], "use_all": False})
    results["targets"] = {name: results["targets"]["viper"]}
    rows, remarks = read_markdown(results)
    shown = "a&#124;b&lt;script&gt;\\n&#124; x &#124; 99 &#124;\\xe9"
    assert [row[0] for row in rows] == ["target", "---", shown, "average"]
    assert f"* trained on: {shown}" in remarks
    to_markdown(results).encode("utf-8")

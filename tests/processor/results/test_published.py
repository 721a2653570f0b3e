"""Published results: values and consistency."""

from pathlib import Path

import pytest

from config import load_cfg
from datasets.registry import BENCHMARKS
from processor.results.published import (
    AVERAGE,
    TABLE,
    average_only_rows,
    averaged_targets,
    has_average,
    published_protocols,
    published_rows,
    read_published,
)

ROOT = Path(__file__).resolve().parents[3]
CONFIGS = sorted((ROOT / "configs" / "generalization").rglob("*.yml"))
PROTOCOLS = (
    "P1",
    "P1 with DukeMTMC",
    "P2",
    "P3",
    "single source market1501",
    "single source msmt17",
    "single source dukemtmc",
    "single source cuhk03",
    "single source randperson",
    "leave-one-out",
    "supervised",
)
SMALL = ("prid", "grid", "viper", "ilids")
RERUN = "re-run by the authors of the table"
TRAIN = "MSMT17 as a source: list_train alone, 30,248 images"
TRAIN_AND_VAL = "MSMT17 as a source: list_train and list_val, 32,621 images"


def cells(protocol):
    """(method, source, target) -> the result."""
    return {(r.method, r.source, r.target): r for r in read_published(protocol)}


def find(protocol, method, target, source=None):
    (result,) = [
        r
        for r in read_published(protocol)
        if (r.method, r.target) == (method, target) and source in (None, r.source)
    ]
    return result


# the numbers


@pytest.mark.parametrize(
    ("protocol", "method", "target", "mean_ap", "rank1"),
    [
        ("P1", "CLIP-DFGS T", "viper", 84.6, 78.8),
        ("P1", "CLIP-DFGS T", "average", 82.4, 75.6),
        ("P1", "CLIP-DFGS I", "prid", 78.6, 72.0),
        ("P1", "CLIP-ReID", "grid", 58.2, 48.8),
        ("P1", "CILP-FGDI", "ilids", 91.8, 88.3),
        ("P1", "QAConv50", "prid", 62.2, 52.3),
        ("P1", "GMN", "viper", 77.7, 69.0),
        ("P2", "CILP-FGDI", "cuhk03", 44.4, 44.6),
        ("P3", "CILP-FGDI", "average", 54.3, 67.6),
        ("P1", "DSM-CLIP", "viper", 85.2, 79.7),
        ("P1", "DSM-CLIP", "prid", 82.0, 76.0),
        ("P1", "DSM-CLIP", "grid", 78.0, 71.2),
        ("P1", "DSM-CLIP", "ilids", 91.4, 88.3),
        ("P1", "DSM-CLIP", "average", 84.2, 78.8),
        ("P2", "DSM-CLIP", "market1501", 79.4, 90.5),
        ("P2", "DSM-CLIP", "cuhk03", 53.6, 53.4),
        ("P2", "DSM-CLIP", "msmt17", 34.3, 63.3),
        ("P2", "DSM-CLIP", "average", 55.8, 69.1),
        ("P3", "DSM-CLIP", "market1501", 81.3, 91.5),
        ("P3", "DSM-CLIP", "cuhk03", 56.8, 56.4),
        ("P3", "DSM-CLIP", "msmt17", 35.4, 63.8),
        ("P3", "DSM-CLIP", "average", 57.8, 70.6),
        ("P2", "CLIP-DFGS I", "market1501", 79.0, 90.5),
        ("P2", "CLIP-DFGS I", "cuhk03", 50.4, 50.8),
        ("P2", "CLIP-DFGS I", "msmt17", 31.6, 60.7),
        ("P2", "CLIP-DFGS I", "average", 53.7, 67.3),
        ("P3", "CLIP-DFGS I", "market1501", 81.0, 91.6),
        ("P3", "CLIP-DFGS I", "cuhk03", 51.6, 51.3),
        ("P3", "CLIP-DFGS I", "msmt17", 33.4, 62.0),
        ("P3", "CLIP-DFGS I", "average", 55.3, 68.3),
        ("single source market1501", "MUVA", "dukemtmc", 52.0, 72.1),
        ("single source market1501", "QAConv-GS", "cuhk03", 18.1, 19.1),
        ("single source market1501", "PAT", "msmt17", 18.2, 42.8),
        ("single source msmt17", "DiffReID", "market1501", 54.2, 82.5),
        ("single source msmt17", "MUVA", "dukemtmc", 62.0, 77.8),
        ("single source msmt17", "CLIP-ReID", "cuhk03", 38.9, 40.2),
        ("single source dukemtmc", "CILP-FGDI", "msmt17", 25.2, 53.8),
        ("single source dukemtmc", "DCAC", "cuhk03", 23.0, 23.5),
        ("single source cuhk03", "MUVA", "msmt17", 21.0, 49.8),
        ("single source market1501", "APC", "msmt17", 30.1, 58.0),
        ("single source msmt17", "APC", "market1501", 55.7, 80.0),
        ("single source msmt17", "APC", "cuhk03", 41.3, 43.0),
        ("single source randperson", "APC", "market1501", 59.2, 81.0),
        ("single source randperson", "APC", "msmt17", 27.4, 56.4),
        ("leave-one-out", "APC", "market1501", 61.6, 83.1),
        ("leave-one-out", "APC", "msmt17", 29.7, 58.7),
        ("leave-one-out", "APC", "cuhk03", 42.0, 42.9),
        ("leave-one-out", "MUVA", "msmt17", 34.5, 63.1),
        ("leave-one-out", "ISR", "market1501", 70.5, 87.0),
        ("P1 with DukeMTMC", "MetaBIN", "average", 72.34, 64.69),
        ("P1 with DukeMTMC", "MetaBIN", "prid", None, 72.5),
        ("P1 with DukeMTMC", "PDTP-Net", "average", 78.7, 71.8),
        ("P1 with DukeMTMC", "GDNorm", "average", 76.3, 68.9),
        ("supervised", "PersonViT-B", "msmt17", 80.8, 92.0),
        ("supervised", "PersonViT-B", "market1501", 95.0, 97.6),
        ("supervised", "SOLIDER Swin-B", "msmt17", 77.1, 90.7),
        ("supervised", "SOLIDER Swin-B", "market1501", 93.9, 96.9),
        ("supervised", "CLIP-ReID", "msmt17", 75.8, 89.7),
        ("supervised", "CLIP-ReID", "market1501", 90.5, 95.4),
    ],
)
def test_values(protocol, method, target, mean_ap, rank1):
    result = find(protocol, method, target)
    assert (result.mAP, result.rank1) == (mean_ap, rank1)


@pytest.mark.parametrize(
    ("method", "p1", "p2", "p3"),
    [
        ("ReNorm", (78.2, 71.2), (47.3, 63.1), (52.4, 67.2)),
        ("BAU", (77.2, 69.5), (48.1, 61.7), (52.3, 65.7)),
        ("GS-CLIP", (76.3, 69.0), (49.5, 64.1), (51.5, 65.4)),
        ("LDA", (74.6, 66.9), (45.5, 60.4), (49.7, 64.2)),
        ("CINorm", (76.3, 67.9), None, None),
    ],
)
def test_methods_known_by_their_averages_only(method, p1, p2, p3):
    for protocol, average in zip(("P1", "P2", "P3"), (p1, p2, p3), strict=True):
        results = [r for r in read_published(protocol) if r.method == method]
        found = [(r.target, (r.mAP, r.rank1), r.source) for r in results]
        assert found == ([(AVERAGE, average, "DSM-CLIP's tables")] if average else [])


def test_protocols_are_complete_and_in_order():
    assert published_protocols() == PROTOCOLS


def test_number_of_results():
    counts = {protocol: len(read_published(protocol)) for protocol in PROTOCOLS}
    assert counts == {
        "P1": 83,
        "P1 with DukeMTMC": 7,
        "P2": 16,
        "P3": 16,
        "single source market1501": 28,
        "single source msmt17": 27,
        "single source dukemtmc": 18,
        "single source cuhk03": 6,
        "single source randperson": 5,
        "leave-one-out": 41,
        "supervised": 6,
    }
    text = (ROOT / "docs" / "generalization.md").read_text(encoding="utf-8")
    assert f"holds {sum(counts.values())} results of {len(counts)} protocols" in text


def test_a_method_run_by_two_papers_has_both_results():
    first = find("single source market1501", "CLIP-ReID", "dukemtmc", "DiffReID")
    second = find("single source market1501", "CLIP-ReID", "dukemtmc", "Sensors 2025")
    assert (first.mAP, first.rank1) == (51.7, 69.6)
    assert (second.mAP, second.rank1) == (50.2, 68.9)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_no_cell_occurs_twice(protocol):
    assert len(cells(protocol)) == len(read_published(protocol))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_cells_are_complete_and_plausible(protocol):
    for result in read_published(protocol):
        assert result.target in {*BENCHMARKS, AVERAGE} - {"cuhk03_labeled"}
        assert result.method
        assert 0 < result.rank1 < 100
        assert result.mAP is None or 0 < result.mAP < 100
        assert all(note.strip() == note != "" for note in result.notes)


def test_every_result_has_a_source():
    sources = {result.source for protocol in PROTOCOLS for result in read_published(protocol)}
    assert sources == {
        "APC",
        "CILP-FGDI's README",
        "CLIP-DFGS",
        "CLIP-ReID",
        "DSM-CLIP's tables",
        "DiffReID",
        "GDNorm",
        "MUVA",
        "MetaBIN",
        "PDTP-Net",
        "PersonViT",
        "QAConv 2.1 README",
        "SOLIDER",
        "Sensors 2025",
    }
    assert "not recorded" not in TABLE.read_text(encoding="utf-8")


def test_a_table_does_not_contain_later_work():
    """CILP-FGDI, of 2025, continues CLIP-DFGS, of 2024, so it cannot be in the latter's table."""
    for protocol in ("P1", "P2", "P3"):
        sources = {r.source for r in read_published(protocol) if r.method == "CILP-FGDI"}
        assert sources == {"CILP-FGDI's README"}


def test_a_repeated_row_of_protocol_2_is_left_out_of_protocol_3():
    assert "CLIP-ReID" not in {result.method for result in read_published("P3")}


def test_only_metabin_has_no_mean_average_precision():
    results = [r for protocol in PROTOCOLS for r in read_published(protocol) if r.mAP is None]
    assert {(r.protocol, r.method) for r in results} == {("P1 with DukeMTMC", "MetaBIN")}


def test_the_source_of_a_single_source_protocol_is_not_a_target():
    for protocol in PROTOCOLS:
        source = protocol.rpartition(" ")[2]
        assert source not in {result.target for result in read_published(protocol)}


def mean(results, value):
    return sum(getattr(result, value) for result in results) / len(results)


@pytest.mark.parametrize("value", ["mAP", "rank1"])
def test_averages_agree_with_their_cells(value):
    """Cells and average are rounded to 0.1 each, so they agree to 0.1."""
    checked = 0
    for protocol in PROTOCOLS:
        for (method, source, target), average in cells(protocol).items():
            if target != AVERAGE:
                continue
            own = [r for r in read_published(protocol) if (r.method, r.source) == (method, source)]
            others = [r for r in own if r.target != AVERAGE]
            if not others:  # the average is all that is known
                continue
            assert len(others) == (4 if protocol.startswith("P1") else 3)
            if all(getattr(r, value) is not None for r in others):
                assert mean(others, value) == pytest.approx(getattr(average, value), abs=0.1)
                checked += 1
    assert checked == {"mAP": 21, "rank1": 22}[value]


def test_re_runs_are_marked():
    rerun = {r.method for r in read_published("P1") if RERUN in r.notes}
    assert rerun == {"ViT-B", "TransReID", "CLIP-ReID", "PAT"}
    rerun = {r.method for r in read_published("leave-one-out") if RERUN in r.notes}
    assert rerun == {"CILP-FGDI"}


def test_doubtful_results_are_marked():
    doubtful = {
        (r.protocol, r.method, r.target)
        for protocol in PROTOCOLS
        for r in read_published(protocol)
        if {"unconfirmed", "Market-1501 second-hand"} & set(r.notes)
    }
    assert doubtful == {
        ("P1 with DukeMTMC", "PDTP-Net", "average"),
        ("P1 with DukeMTMC", "GDNorm", "average"),
        ("supervised", "SOLIDER Swin-B", "market1501"),
    }


def test_training_lists_of_msmt17_are_noted_where_known():
    noted = {
        (r.protocol, r.method, r.target): note
        for protocol in PROTOCOLS
        for r in read_published(protocol)
        for note in r.notes
        if note.startswith("MSMT17 as a source")
    }
    assert noted == {
        ("P2", "CLIP-DFGS I", "cuhk03"): TRAIN,
        ("P2", "CLIP-DFGS I", "market1501"): TRAIN,
        ("single source msmt17", "QAConv-GS", "market1501"): TRAIN_AND_VAL,
        ("single source msmt17", "QAConv-GS", "dukemtmc"): TRAIN_AND_VAL,
        ("single source msmt17", "QAConv-GS", "cuhk03"): TRAIN_AND_VAL,
        ("supervised", "CLIP-ReID", "msmt17"): TRAIN_AND_VAL,
    }


def test_error_of_an_unknown_protocol_lists_the_known():
    with pytest.raises(
        ValueError, match=r"DATASETS\.PROTOCOL: 'P4' is not one of P1, P1 with .*P2"
    ):
        read_published("P4")


# rows


def test_rows_have_only_the_requested_targets():
    rows = {row.method: row for row in published_rows("P1", ["ilids", "viper"])}
    assert list(rows["CLIP-DFGS T"].cells) == ["ilids", "viper"]
    assert list(rows["GMN (TCSVT 2024)"].cells) == ["viper"]
    assert "GMN (TCSVT 2024)" not in {r.method for r in published_rows("P1", ["ilids"])}


def test_both_flavours_of_cuhk03_read_the_same_column():
    (row,) = [r for r in published_rows("P3", ["cuhk03_labeled"]) if "FGDI" in r.method]
    assert row.cells["cuhk03_labeled"] == find("P3", "CILP-FGDI", "cuhk03")
    both = published_rows("P3", ["cuhk03", "cuhk03_labeled"])
    assert all(row.cells["cuhk03"] is row.cells["cuhk03_labeled"] for row in both)


def test_the_same_method_in_two_tables_has_two_rows():
    rows = published_rows("single source market1501", ["msmt17", "dukemtmc"])
    rows = [row for row in rows if row.method == "CLIP-ReID"]
    found = {row.source: {t: r.mAP for t, r in row.cells.items()} for row in rows}
    assert found == {
        "DiffReID": {"msmt17": 23.0, "dukemtmc": 51.7},
        "Sensors 2025": {"dukemtmc": 50.2},
    }


def test_notes_are_those_of_the_requested_cells():
    (row,) = [r for r in published_rows("P2", ["cuhk03", "msmt17"]) if "DFGS" in r.method]
    assert row.notes == ("CUHK03 labeled", TRAIN)
    (row,) = [r for r in published_rows("P2", ["msmt17"]) if "DFGS" in r.method]
    assert row.notes == ()


def test_unpublished_target_has_no_rows():
    assert published_rows("P1", ["msmt17"]) == []


def test_targets_of_the_published_averages():
    assert averaged_targets("P1") == SMALL
    assert averaged_targets("P2") == ("cuhk03", "msmt17", "market1501")
    assert averaged_targets("leave-one-out") == averaged_targets("supervised") == ()
    assert has_average("P1", ["ilids", "viper", "grid", "prid"])
    assert not has_average("P1", ["ilids", "viper", "grid"])
    assert not has_average("supervised", [])


def test_methods_with_nothing_but_an_average():
    rows = {row.method: list(row.cells) for row in average_only_rows("P1 with DukeMTMC")}
    assert rows == {"PDTP-Net": [AVERAGE], "GDNorm": [AVERAGE]}
    rows = {row.method for row in average_only_rows("P2")}
    assert rows == {"BAU (NeurIPS 2024)", "ReNorm (ECCV 2024)", "GS-CLIP", "LDA"}
    assert average_only_rows("single source msmt17") == []


# recipes and package data


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_target_of_a_recipe_has_published_results(path):
    options = load_cfg(path).DATASETS
    for target in options.TARGETS:
        assert published_rows(options.PROTOCOL, [target])


def test_most_protocols_have_a_recipe():
    used = {load_cfg(path).DATASETS.PROTOCOL for path in CONFIGS}
    assert set(PROTOCOLS) - used == {"leave-one-out", "single source randperson", "supervised"}

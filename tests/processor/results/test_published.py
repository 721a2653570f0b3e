"""Published results: values and consistency."""

from pathlib import Path

import pytest

from config import load_cfg
from datasets.registry import BENCHMARKS
from processor.results.published import (
    AVERAGE,
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
    "leave-one-out",
)
SMALL = ("prid", "grid", "viper", "ilids")
RERUN = "re-run by the authors of the table"


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
        ("P2", "CLIP-ReID", "msmt17", 26.6, 53.1),
        ("P2", "BAU", "market1501", 77.1, 90.4),
        ("P2", "ReNorm", "average", 47.3, 63.1),
        ("P3", "CILP-FGDI", "average", 54.3, 67.6),
        ("P3", "META+IL", "market1501", 78.9, 91.2),
        ("P3", "ACL", "cuhk03", 49.4, 50.1),
        ("P3", "ViT-B", "msmt17", 20.9, 43.1),
        ("single source market1501", "MUVA", "dukemtmc", 52.0, 72.1),
        ("single source market1501", "QAConv-GS", "cuhk03", 18.1, 19.1),
        ("single source market1501", "PAT", "msmt17", 18.2, 42.8),
        ("single source msmt17", "DiffReID", "market1501", 54.2, 82.5),
        ("single source msmt17", "MUVA", "dukemtmc", 62.0, 77.8),
        ("single source msmt17", "CLIP-ReID", "cuhk03", 38.9, 40.2),
        ("single source dukemtmc", "CILP-FGDI", "msmt17", 25.2, 53.8),
        ("single source dukemtmc", "DCAC", "cuhk03", 23.0, 23.5),
        ("single source cuhk03", "MUVA", "msmt17", 21.0, 49.8),
        ("leave-one-out", "MUVA", "msmt17", 34.5, 63.1),
        ("leave-one-out", "ISR", "market1501", 70.5, 87.0),
        ("P1 with DukeMTMC", "MetaBIN", "average", 72.34, 64.69),
        ("P1 with DukeMTMC", "MetaBIN", "prid", None, 72.5),
    ],
)
def test_values(protocol, method, target, mean_ap, rank1):
    result = find(protocol, method, target)
    assert (result.mAP, result.rank1) == (mean_ap, rank1)


def test_protocols_are_complete_and_in_order():
    assert published_protocols() == PROTOCOLS


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
        assert result.source
        assert 0 < result.rank1 < 100
        assert result.mAP is None or 0 < result.mAP < 100
        assert all(note.strip() == note != "" for note in result.notes)


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
            assert len(others) == (4 if protocol.startswith("P1") else 3)
            if all(getattr(r, value) is not None for r in others):
                assert mean(others, value) == pytest.approx(getattr(average, value), abs=0.1)
                checked += 1
    assert checked == {"mAP": 41, "rank1": 42}[value]


def test_re_runs_are_marked():
    rerun = {r.method for r in read_published("P1") if RERUN in r.notes}
    assert rerun == {"ViT-B", "TransReID", "CLIP-ReID", "PAT"}
    for protocol in ("P2", "P3"):
        rerun = {r.method for r in read_published(protocol) if RERUN in r.notes}
        assert rerun == {"ViT-B", "TransReID", "CLIP-ReID"}


def test_second_hand_results_are_marked():
    doubtful = {r.method for r in read_published("P2") if "second-hand, unconfirmed" in r.notes}
    assert doubtful == {"SNR", "ISR", "BAU", "ReNorm"}
    assert "CLIP-DFGS T" not in {r.method for r in read_published("P2")}


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
    (row,) = [r for r in published_rows("P2", ["cuhk03", "msmt17"]) if "BAU" in r.method]
    assert row.notes == ("ResNet-50", "second-hand, unconfirmed", "CUHK03 detected")
    (row,) = [r for r in published_rows("P2", ["msmt17"]) if "BAU" in r.method]
    assert row.notes == ("ResNet-50", "second-hand, unconfirmed")


def test_unpublished_target_has_no_rows():
    assert published_rows("P1", ["msmt17"]) == []


# recipes and package data


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_target_of_a_recipe_has_published_results(path):
    options = load_cfg(path).DATASETS
    for target in options.TARGETS:
        assert published_rows(options.PROTOCOL, [target])


def test_all_protocols_but_leave_one_out_have_a_recipe():
    used = {load_cfg(path).DATASETS.PROTOCOL for path in CONFIGS}
    assert used == set(PROTOCOLS) - {"leave-one-out"}

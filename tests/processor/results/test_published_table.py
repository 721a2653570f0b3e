"""The table of published results, and the comparison with a run."""

import re
from pathlib import Path

import pytest

from config import load_cfg
from processor.results.published import published_protocols
from processor.results.published_table import format_comparison, format_published

ROOT = Path(__file__).resolve().parents[3]
SMALL = ("prid", "grid", "viper", "ilids")
RERUN = "re-run by the authors of the table"


def words(line):
    return line.split("  ")


def read_table(text):
    """Method -> its cells, the head under "method"; the last cell with the notes in full."""
    notes = dict(re.findall(r"^(\[\d+\]) (.*)$", text, re.MULTILINE))
    table = {}
    for line in text.splitlines()[1:]:
        if not line.startswith(("---", "[", "below ")):
            cells = [cell.strip() for cell in words(line)[1:] if cell]
            if cells:
                cells[-1] = re.sub(r" (\[\d+\])", lambda found: f"; {notes[found[1]]}", cells[-1])
            table[words(line)[0]] = cells
    return table


def methods(text):
    """The names of the methods, as ranked."""
    return [name for name in read_table(text) if name not in ("method", "")]


def test_the_whole_table():
    text = format_comparison("P1 with DukeMTMC", dict.fromkeys(SMALL, (0.75, 0.6)))
    assert text.splitlines() == [
        "P1 with DukeMTMC, mAP/Rank-1 in %: published results and this run, "
        "highest average mAP first",
        "method                    prid       grid      viper      ilids    average  source",
        "-" * 88,
        "PDTP-Net                     -          -          -          -  78.7/71.8  PDTP-Net [1]",
        "GDNorm                       -          -          -          -  76.3/68.9  GDNorm [1]",
        "this run             75.0/60.0  75.0/60.0  75.0/60.0  75.0/60.0  75.0/60.0",
        "MetaBIN (CVPR 2021)     -/72.5     -/49.7     -/56.9     -/79.7  72.3/64.7  MetaBIN [2]",
        "[1] unconfirmed",
        "[2] mean of 10 splits, VIPeR in one direction",
    ]


# the order


def test_protocol_1_is_ranked_by_the_average():
    """With the methods known by it only; Rank-1 decides between GS-CLIP and CINorm."""
    text = format_published("P1", SMALL)
    assert methods(text)[:8] == [
        "DSM-CLIP (2025)",
        "CLIP-DFGS I",
        "CLIP-DFGS T",
        "CILP-FGDI (TIFS 2025)",
        "ReNorm (ECCV 2024)",
        "BAU (NeurIPS 2024)",
        "GS-CLIP",
        "CINorm",
    ]
    table = read_table(text)
    assert table["DSM-CLIP (2025)"][-2:] == ["84.2/78.8", "DSM-CLIP's tables"]
    assert table["BAU (NeurIPS 2024)"] == [
        *("-", "-", "-", "-", "77.2/69.5"),
        "DSM-CLIP's tables; ResNet-50",
    ]
    assert table["GS-CLIP"][4] == "76.3/69.0"
    assert table["CINorm"][4] == "76.3/67.9"
    unranked = text.rpartition("-" * 20)[2]
    assert "GMN (TCSVT 2024)" in unranked
    assert "PAT (ICCV 2023)" not in unranked
    assert "not ranked, because the average is not published" in unranked


@pytest.mark.parametrize(
    ("mean_ap", "rank1", "before"),
    [
        (0.9, 0.1, "DSM-CLIP (2025)"),
        (0.763, 0.690, "CINorm"),
        (0.763, 0.691, "GS-CLIP"),
        (0.76304, 0.68, "CINorm"),
        (0.5, 0.9, "GMN (TCSVT 2024)"),
    ],
)
def test_the_run_has_its_place_among_the_methods(mean_ap, rank1, before):
    """Equal as printed is equal: then Rank-1 decides, then the published method is first.

    GMN, without a published average, is below all ranked ones.
    """
    text = format_comparison("P1", dict.fromkeys(SMALL, (mean_ap, rank1)))
    assert methods(text)[methods(text).index("this run") + 1] == before


def test_order_without_a_published_average():
    """By the mean over the targets; who has no result on one of them is not ranked."""
    targets = ["market1501", "dukemtmc", "cuhk03"]
    text = format_comparison("single source msmt17", dict.fromkeys(targets, (0.515, 0.5)))
    assert text.splitlines()[0].endswith("published results and this run, highest mean mAP first")
    _, ranked, unranked = re.split("\n-+\n", text)
    assert [line.split("  ")[0] for line in ranked.splitlines()] == [
        "MUVA (2026)",
        "DiffReID (TIP 2026)",
        "this run",
        "CLIP-ReID",
        "DCAC (Sensors 2025)",
    ]
    assert "APC (TCSVT 2025)" in unranked
    assert "not ranked, because the mAP on a target is not published" in unranked


def test_order_on_one_target_is_that_of_its_map():
    text = format_comparison("P2", {"msmt17": (0.32, 0.1)})
    assert text.splitlines()[0] == (
        "P2, mAP/Rank-1 in %: published results and this run, highest mAP first"
    )
    assert methods(text.partition("known only")[0]) == [
        "DSM-CLIP (2025)",
        "this run",
        "CLIP-DFGS I",
        "CILP-FGDI (TIFS 2025)",
    ]


def test_other_averages_are_below_the_table():
    text = format_published("P2", ["msmt17"])
    assert text.splitlines()[-7:] == [
        "known only as an average over cuhk03, msmt17, market1501:",
        "  GS-CLIP             49.5/64.1  DSM-CLIP's tables [1]",
        "  BAU (NeurIPS 2024)  48.1/61.7  DSM-CLIP's tables [2]",
        "  ReNorm (ECCV 2024)  47.3/63.1  DSM-CLIP's tables",
        "  LDA                 45.5/60.4  DSM-CLIP's tables",
        "[1] graph sampler and CLIP",
        "[2] ResNet-50",
    ]
    assert "known only" not in format_published("P2", ["cuhk03", "msmt17", "market1501"])
    assert "known only" not in format_published("leave-one-out", ["msmt17"])


def test_training_lists_of_msmt17_are_printed():
    table = read_table(format_published("P2", ["market1501"]))
    note = "MSMT17 as a source: list_train alone, 30,248 images"
    assert table["CLIP-DFGS I"] == ["79.0/90.5", f"DSM-CLIP's tables; {note}"]
    table = read_table(format_published("supervised", ["msmt17"]))
    note = "MSMT17 as a source: list_train and list_val, 32,621 images"
    assert table["CLIP-ReID (AAAI 2023)"] == ["75.8/89.7", f"CLIP-ReID; with SIE and OLP; {note}"]


# the cells


def test_columns_are_the_targets_in_order():
    ours = {"viper": (0.5, 0.25), "prid": (0.1234, 0.9876), "ilids": (1.0, 1.0), "grid": (0.0, 0.0)}
    text = format_comparison("P1", ours)
    table = read_table(text)
    assert table["method"] == ["viper", "prid", "ilids", "grid", "average", "source"]
    assert table["CLIP-DFGS T"] == [
        *("84.6/78.8", "78.8/69.0", "92.4/88.3", "73.6/66.4", "82.4/75.6"),
        "CLIP-DFGS; one split",
    ]
    assert table["GMN (TCSVT 2024)"][2:5] == ["-", "64.8/54.4", "-"]
    assert table["CLIP-ReID"][-1] == f"CLIP-DFGS; {RERUN}"
    assert table["this run"] == ["50.0/25.0", "12.3/98.8", "100.0/100.0", "0.0/0.0", "40.6/55.9"]
    assert len(table) == 23


@pytest.mark.parametrize(
    ("protocol", "targets"),
    [
        ("P1", ["prid", "grid", "viper"]),
        ("P1", [*SMALL, "msmt17"]),
        ("P2", ["msmt17"]),
        ("P2", ["cuhk03", "cuhk03_labeled", "msmt17", "market1501"]),
        ("single source cuhk03", ["market1501", "msmt17", "dukemtmc"]),
    ],
)
def test_no_average_over_other_targets_than_published(protocol, targets):
    table = read_table(format_comparison(protocol, dict.fromkeys(targets, (0.5, 0.5))))
    assert table["method"] == [*targets, "source"]


def test_average_covers_either_flavour():
    ours = {"cuhk03_labeled": (0.1, 0.2), "msmt17": (0.2, 0.3), "market1501": (0.6, 0.7)}
    table = read_table(format_comparison("P2", ours))
    assert table["CILP-FGDI (TIFS 2025)"][3] == "51.6/65.1"
    assert table["this run"][3] == "30.0/40.0"


@pytest.mark.parametrize(
    ("target", "boxes"), [("cuhk03", "detected"), ("cuhk03_labeled", "labeled")]
)
def test_footnote_names_the_flavour(target, boxes):
    text = format_comparison("P3", {target: (0.5, 0.5)})
    assert text.splitlines()[-1].startswith(f"{target}: this run on {boxes} boxes")
    cells = read_table(text)["CILP-FGDI (TIFS 2025)"]
    assert cells == ["50.1/50.1", "CILP-FGDI's README; CUHK03 labeled"]
    assert "boxes" not in format_comparison("P3", {"msmt17": (0.5, 0.5)})


def test_unpublished_target_has_empty_cells():
    table = read_table(format_comparison("P2", {"msmt17": (0.5, 0.5), "my_shop": (0.6, 0.7)}))
    assert table["CILP-FGDI (TIFS 2025)"][:2] == ["31.1/59.4", "-"]
    assert table["this run"] == ["50.0/50.0", "60.0/70.0"]
    text = format_comparison("P2", {"my_shop": (0.6, 0.7)})
    assert text == "P2: no published results on my_shop"


def test_table_without_a_run_has_the_published_rows():
    title, *lines = format_published("P1", SMALL).splitlines()
    assert title == "P1, mAP/Rank-1 in %: published results, highest average mAP first"
    compared = format_comparison("P1", dict.fromkeys(SMALL, (0.5, 0.5))).splitlines()[1:]
    assert lines == [line for line in compared if not line.startswith("this run")]
    assert len(compared) == len(lines) + 1
    assert read_table("\n".join([title, *lines]))["CLIP-DFGS I"][0] == "78.6/72.0"
    assert "nan" not in "".join(lines)


def test_table_without_a_run_does_not_mention_its_boxes():
    text = format_published("P3", ["cuhk03"])
    assert text.splitlines()[-1] == "cuhk03: published results on the boxes in the notes, if any"
    assert format_published("P2", ["my_shop"]) == "P2: no published results on my_shop"
    with pytest.raises(ValueError, match="'' is not one of"):
        format_published("", ["msmt17"])


def test_recipes_tables_fit_the_console():
    for path in (ROOT / "configs" / "generalization").rglob("*.yml"):
        options = load_cfg(path).DATASETS
        text = format_published(options.PROTOCOL, options.TARGETS)
        assert max(map(len, text.splitlines())) <= 110, path


def test_unknown_protocol_is_rejected():
    for text in ("", "P4"):
        assert text not in published_protocols()
        with pytest.raises(ValueError, match=f"'{text}' is not one of"):
            format_comparison(text, {"msmt17": (0.1, 0.2)})

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
        if not line.startswith(("---", "[")):
            cells = [cell.strip() for cell in words(line)[1:] if cell]
            if cells:
                cells[-1] = re.sub(r" (\[\d+\])", lambda found: f"; {notes[found[1]]}", cells[-1])
            table[words(line)[0]] = cells
    return table


def test_the_whole_table():
    text = format_comparison("P1 with DukeMTMC", dict.fromkeys(SMALL, (0.7, 0.6)))
    rule = "-" * 87
    assert text.splitlines() == [
        "P1 with DukeMTMC, mAP/Rank-1 in %: published results and this run",
        "method                    prid       grid      viper      ilids    average  table of",
        rule,
        "MetaBIN (CVPR 2021)     -/72.5     -/49.7     -/56.9     -/79.7  72.3/64.7  MetaBIN [1]",
        rule,
        "this run             70.0/60.0  70.0/60.0  70.0/60.0  70.0/60.0  70.0/60.0",
        "[1] mean of 10 splits, VIPeR in one direction",
    ]


def test_columns_are_the_targets_in_order_and_the_run_is_last():
    ours = {"viper": (0.5, 0.25), "prid": (0.1234, 0.9876), "ilids": (1.0, 1.0), "grid": (0.0, 0.0)}
    text = format_comparison("P1", ours)
    table = read_table(text)
    assert table["method"] == ["viper", "prid", "ilids", "grid", "average", "table of"]
    assert table["CLIP-DFGS T"] == [
        *("84.6/78.8", "78.8/69.0", "92.4/88.3", "73.6/66.4", "82.4/75.6"),
        "CLIP-DFGS; one split",
    ]
    assert table["GMN (TCSVT 2024)"][2:5] == ["-", "64.8/54.4", "-"]
    assert table["CLIP-ReID"][-1] == f"CLIP-DFGS; {RERUN}"
    assert table["this run"] == ["50.0/25.0", "12.3/98.8", "100.0/100.0", "0.0/0.0", "40.6/55.9"]
    assert [line for line in text.splitlines() if line[0] != "["][-1].startswith("this run")
    assert len(table) == 17


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
    assert table["method"] == [*targets, "table of"]


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
    assert read_table(text)["ACL (ECCV 2022)"] == ["49.4/50.1", "not recorded; CUHK03 labeled"]
    assert "boxes" not in format_comparison("P3", {"msmt17": (0.5, 0.5)})


def test_unpublished_target_has_empty_cells():
    table = read_table(format_comparison("P2", {"msmt17": (0.5, 0.5), "my_shop": (0.6, 0.7)}))
    assert table["CILP-FGDI (TIFS 2025)"][:2] == ["31.1/59.4", "-"]
    assert table["this run"] == ["50.0/50.0", "60.0/70.0"]
    text = format_comparison("P2", {"my_shop": (0.6, 0.7)})
    assert text == "P2: no published results on my_shop"


def test_table_without_a_run_has_the_published_rows():
    ours = dict.fromkeys(SMALL, (0.5, 0.5))
    title, *lines = format_published("P1", SMALL).splitlines()
    assert title == "P1, mAP/Rank-1 in %: published results"
    head, rule, *rows, again, run, note1, note2 = format_comparison("P1", ours).splitlines()[1:]
    assert lines == [head, rule, *rows, note1, note2]
    assert (again, run.split()[:2]) == (rule, ["this", "run"])
    assert read_table("\n".join([title, *lines]))["CLIP-DFGS I"][0] == "78.6/72.0"
    assert "this run" not in "".join(lines)
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

"""Rows of several files are those of one matrix; images of many rows are parsed one by one."""

import csv

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets.records import Sample
from processor.search import sample_table
from processor.search.feature_file import COLUMNS, cells
from processor.search.feature_rows import FeatureRows
from processor.search.sample_table import SampleTable


@given(st.data())
def test_rows_equal_those_of_the_joined_matrix(data):
    sizes = data.draw(st.lists(st.integers(0, 5), min_size=1, max_size=4))
    kind = data.draw(st.sampled_from(["float32", "float16"]))
    rng = np.random.default_rng(sum(sizes))
    parts = [rng.normal(size=(size, 3)).astype(kind) for size in sizes]
    whole = np.concatenate(parts).astype(np.float32)
    rows = FeatureRows(parts)
    assert rows.shape == whole.shape == (len(rows), 3)
    np.testing.assert_array_equal(np.asarray(rows), whole)
    first, last = data.draw(st.integers(-9, 25)), data.draw(st.integers(-9, 25))
    step = data.draw(st.sampled_from([1, 2, 3, -1]))
    for chosen in (slice(first, last), slice(first, last, step), slice(None)):
        found = rows[chosen]
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, whole[chosen])
    if len(whole):
        places = data.draw(st.lists(st.integers(0, len(whole) - 1), max_size=6))
        np.testing.assert_array_equal(rows[places], whole[places].reshape(-1, 3))
        mask = rng.random(len(whole)) < 0.5
        np.testing.assert_array_equal(rows[mask], whole[mask])


@pytest.mark.parametrize("row", [-1, 3])
def test_rows_that_do_not_exist_are_refused(row):
    with pytest.raises(IndexError, match="rows 0 to 2 exist"):
        FeatureRows([np.zeros((3, 2), "f4")])[[row]]


def test_mask_of_another_length_is_refused():
    with pytest.raises(IndexError, match="a mask of 3 rows is needed"):
        FeatureRows([np.zeros((3, 2), "f4")])[np.ones(2, bool)]


NAMES = st.text(st.sampled_from('ab,"\n\r ü;'), max_size=8)


@given(st.lists(st.lists(st.tuples(NAMES, NAMES), max_size=6), min_size=1, max_size=3))
def test_table_of_several_files_holds_what_was_written(tmp_path_factory, rows_of_files):
    folder = tmp_path_factory.mktemp("tables")
    files, written = [], []
    for number, rows in enumerate(rows_of_files):
        samples = [
            Sample(f"{path}.jpg", i, number, -1, name) for i, (path, name) in enumerate(rows)
        ]
        files.append(folder / f"{number}.csv")
        with files[-1].open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
            writer.writerow(COLUMNS)
            writer.writerows(map(cells, samples))
        written += samples
    table = SampleTable(files)
    assert table.counts == [len(rows) for rows in rows_of_files]
    assert list(table) == written
    assert table[:2] == written[:2]
    assert [x.identity for x in table] == [x.identity for x in written]
    if written:
        assert table[-1] == written[-1]
    with pytest.raises(IndexError):
        table[len(written)]


def test_rows_across_blocks_of_reading_are_found(tmp_path, monkeypatch):
    lines = [",".join(COLUMNS)] + [f'"{"x" * i}",{i},0,"",""' for i in range(40)]
    (tmp_path / "t.csv").write_text("\n".join(lines))  # the last one without its newline
    for block in (1, 7, 64, 10_000):
        monkeypatch.setattr(sample_table, "BLOCK", block)
        table = SampleTable([tmp_path / "t.csv"])
        assert [x.path for x in table] == ["x" * i for i in range(40)]


def test_empty_files_have_no_rows(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"")
    (tmp_path / "b.csv").write_text(",".join(COLUMNS) + "\n")
    assert list(SampleTable([tmp_path / "a.csv", tmp_path / "b.csv"])) == []


def test_damaged_row_is_named(tmp_path):
    (tmp_path / "a.csv").write_text(",".join(COLUMNS) + "\n" + '"a",1,2,"",""\n"b",x,2,"",""\n')
    table = SampleTable([tmp_path / "a.csv"])
    assert table[0].path == "a"
    with pytest.raises(ValueError, match=r"a\.csv: row 2 is not an image"):
        table[1]

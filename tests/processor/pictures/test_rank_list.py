"""Rows of rank lists: ranks in their columns, captions that say rank, identity and camera."""

from dataclasses import replace

import pytest
import torch

from datasets.records import Sample
from processor.evaluation.target import Retrieval
from processor.metrics.rank_lists import RankEntry, RankList
from processor.pictures.rank_list import rank_row

NO_FEATURES = torch.empty(0, 1)
FOUND = RankList(
    query=0,
    entries=(
        RankEntry(0, 0.01, match=True, junk=True),
        RankEntry(2, 0.25, match=True, junk=False),
        RankEntry(1, 1.44, match=False, junk=False),
    ),
    average_precision=1.0,
    first_match=1,
    num_junk=4,
)
MISSED = RankList(
    query=1,
    entries=(
        RankEntry(3, -1e-9, match=False, junk=False),
        RankEntry(1, 0.09, match=True, junk=False),
    ),
    average_precision=0.5,
    first_match=2,
    num_junk=0,
)


@pytest.fixture
def retrieval(tmp_path):
    """Two queries (pids 7 and 8) and four gallery images in one folder."""
    names = ["q0.png", "q1.png", "g0.png", "g1.png", "g2.png", "g3.png"]
    ids = [(7, 0), (8, 1), (7, 0), (8, 0), (7, 1), (9, 2)]
    samples = [Sample(str(tmp_path / n), *pair) for n, pair in zip(names, ids, strict=True)]
    return Retrieval(samples[:2], samples[2:], NO_FEATURES, NO_FEATURES, ignore_same_camera=True)


def test_row_says_what_the_list_says(retrieval):
    row = rank_row(FOUND, retrieval, squared=True, labelled=True)
    assert [tile.frame for tile in row.tiles] == ["query", "right", "wrong", "junk"]
    assert [tile.path for tile in row.ranks] == [retrieval.gallery[i].path for i in (2, 1)]
    assert [tile.path for tile in row.junk] == [retrieval.gallery[0].path]
    assert row.query.caption == (
        *("query", "identity 7", "camera 1", "AP 100.0%", "first right: rank 1", "junk: 1 of 4"),
    )
    assert [tile.caption for tile in row.ranks] == [
        ("rank 1", "distance 0.500", "identity 7", "camera 2"),
        ("rank 2", "distance 1.200", "identity 8", "camera 1"),
    ]
    assert row.junk[0].caption == ("junk", "distance 0.100", "identity 7", "camera 1")
    assert (row.identity, row.result, row.average_precision) == ("7", "right", 1.0)


def test_camera_is_left_out_where_all_images_have_the_same(retrieval):
    """One camera, as in own data whose cameras are unknown."""
    one = [[replace(x, camid=0) for x in side] for side in (retrieval.query, retrieval.gallery)]
    retrieval = replace(retrieval, query=one[0], gallery=one[1], ignore_same_camera=False)
    row = rank_row(MISSED, retrieval, squared=True, labelled=True)
    assert [tile.caption[2:] for tile in row.ranks] == [("identity 9",), ("identity 8",)]
    assert row.query.caption == ("query", "identity 8", "AP 50.0%", "first right: rank 2")


def test_junk_does_not_shift_ranks_on_a_sheet(retrieval):
    """Rank r is in column r of every row, however much junk a row has."""
    with_junk = rank_row(FOUND, retrieval, squared=True, labelled=True)
    without = rank_row(MISSED, retrieval, squared=True, labelled=True)
    for row in (with_junk, without):
        columns = row.on_sheet(3)
        assert columns[0] == row.query
        assert [tile.caption[0] for tile in columns[1:3]] == ["rank 1", "rank 2"]
        assert columns[3] is None  # the gallery has no third
        assert columns[4:] == row.junk


def test_first_match_beyond_the_shown_ranks_is_named(retrieval):
    far = RankList(0, FOUND.entries[2:], 0.02, first_match=1047, num_junk=0)
    row = rank_row(far, retrieval, squared=True, labelled=True)
    assert row.query.caption[-1] == "first right: rank 1,047"
    assert row.result == "wrong"


@pytest.mark.parametrize(("squared", "second"), [(False, "0.090"), (True, "0.300")])
def test_roots_are_shown_of_squared_distances_only(retrieval, squared, second):
    row = rank_row(MISSED, retrieval, squared=squared, labelled=True)
    first = "0.000" if squared else "-0.000"
    assert [tile.caption[1] for tile in row.ranks] == [f"distance {first}", f"distance {second}"]


def test_query_without_a_match_has_no_result(retrieval):
    unmatched = RankList(0, FOUND.entries[2:], None, None, 0)
    row = rank_row(unmatched, retrieval, squared=True, labelled=True)
    assert (row.result, row.average_precision) == ("none", None)
    assert row.query.caption[-1] == "no match in the gallery"


def test_without_identities_files_are_named_and_nothing_is_right_or_wrong(retrieval, tmp_path):
    row = rank_row(MISSED, retrieval, squared=True, labelled=False)
    assert [tile.frame for tile in row.tiles] == ["query", None, None]
    assert row.ranks[0].caption == ("rank 1", "distance 0.000", f"{tmp_path.name}/g3.png")
    assert (row.result, row.average_precision) == ("", None)

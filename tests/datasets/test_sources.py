"""Joined sources and the fingerprint of a data set."""

import json
from dataclasses import replace

import pytest

from datasets.fingerprint import fingerprint
from datasets.records import DataSplits, Sample
from datasets.sources import join_sources

FIRST = DataSplits(
    "first",
    train=[Sample("a/1.jpg", 9, 0), Sample("a/2.jpg", 4, 2), Sample("a/3.jpg", 9, 2)],
    query=[Sample("q/1.jpg", 1, 5)],
    gallery=[Sample("g/1.jpg", 1, 1), Sample("g/2.jpg", 0, 1)],
    notes=("a remark",),
)
SECOND = DataSplits(
    "second", [Sample("b/1.jpg", 4, 1, 6), Sample("b/2.jpg", 2, 0, -1)], query=[], gallery=[]
)


def test_one_source_keeps_camids_and_numbers_pids_in_order():
    joined = join_sources([FIRST])
    assert joined.samples == FIRST.train
    assert joined.labels == [1, 0, 1]
    assert joined.domains == [0, 0, 0]
    assert (joined.num_classes, joined.num_cameras, joined.num_views) == (2, 3, 1)
    assert joined.names == ("first",)


def test_two_sources_never_share_labels_or_cameras():
    joined = join_sources([FIRST, SECOND])
    assert joined.labels == [1, 0, 1, 3, 2]
    assert joined.domains == [0, 0, 0, 1, 1]
    assert [s.camid for s in joined.samples] == [0, 2, 2, 4, 3]
    assert [s.pid for s in joined.samples] == [9, 4, 9, 4, 2]
    assert [s.viewid for s in joined.samples] == [0, 0, 0, 6, -1]
    assert (joined.num_classes, joined.num_cameras, joined.num_views) == (4, 5, 7)
    assert joined.names == ("first", "second")


def test_unlabelled_viewpoints_count_as_one_view():
    unlabelled = replace(SECOND, train=[Sample("b/2.jpg", 2, 0, -1)])
    assert join_sources([unlabelled]).num_views == 1


@pytest.mark.parametrize(
    ("sources", "message"),
    [([], "no data set"), ([FIRST, replace(SECOND, train=[])], "no training images in second")],
)
def test_nothing_to_train_on(sources, message):
    with pytest.raises(ValueError, match=f"DATASETS.NAMES: {message}"):
        join_sources(sources)


def test_fingerprint_counts():
    result = fingerprint(FIRST)
    assert result["name"] == "first"
    assert result["notes"] == ["a remark"]
    assert result["train"] == {"ids": 2, "images": 3, "cameras": 2}
    assert result["query"] == {"ids": 1, "images": 1, "cameras": 1}
    assert result["gallery"] == {"ids": 2, "images": 2, "cameras": 1}
    assert len(result["sha256"]) == 64
    assert json.loads(json.dumps(result)) == result


def test_fingerprint_does_not_depend_on_root_or_order():
    moved = [replace(sample, path=f"/elsewhere/{sample.path}") for sample in FIRST.train[::-1]]
    assert fingerprint(replace(FIRST, train=moved)) == fingerprint(FIRST)


@pytest.mark.parametrize(
    "sample",
    [
        Sample("a/9.jpg", 9, 0),
        Sample("z/1.jpg", 9, 0),
        Sample("a/1.jpg", 8, 0),
        Sample("a/1.jpg", 9, 1),
    ],
)
def test_fingerprint_sees_every_change(sample):
    changed = replace(FIRST, train=[sample, *FIRST.train[1:]])
    assert fingerprint(changed)["sha256"] != fingerprint(FIRST)["sha256"]


def test_fingerprint_sees_an_image_change_sides():
    swapped = replace(FIRST, query=FIRST.gallery, gallery=FIRST.query)
    assert fingerprint(swapped)["sha256"] != fingerprint(FIRST)["sha256"]


def test_two_sources_of_one_name_are_refused():
    with pytest.raises(ValueError, match=r"DATASETS.NAMES: two data sets of one name"):
        join_sources([FIRST, FIRST])

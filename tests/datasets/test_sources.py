"""Joined sources and the fingerprint of a data set."""

import json
from dataclasses import replace

import pytest

from datasets.checks.fingerprint import fingerprint, fingerprint_of_targets
from datasets.records import DataSplits, Sample
from datasets.registry import READERS
from datasets.sources import (
    _FAMILIES,
    _ONE_TRAINING_SPLIT,
    family,
    join_sources,
    number_test_images,
    share_training_split,
    training_images,
)

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

# One gallery image is a query as well, one a training image, and identity 0 is no single person.
MIXED = DataSplits(
    "mixed",
    train=[Sample("t/1.jpg", 9, 0), Sample("t/2.jpg", 4, 2)],
    query=[Sample("q/1.jpg", 12, 1)],
    gallery=[
        Sample("g/1.jpg", 12, 5),
        Sample("g/2.jpg", 0, 8),
        Sample("q/1.jpg", 12, 1),
        Sample("t/2.jpg", 4, 2),
        Sample("g/3.jpg", 3, 0, 6),
    ],
    distractors=frozenset([0]),
)
# Test identities are numbered from 0 again.
APART = DataSplits(
    "apart",
    train=[Sample("b/1.jpg", 2, 0), Sample("b/2.jpg", 0, 1)],
    query=[Sample("b/3.jpg", 0, 3)],
    gallery=[Sample("b/4.jpg", 0, 2), Sample("b/5.jpg", 1, 0), Sample("b/6.jpg", 9, 7)],
    distractors=frozenset([9]),
    separate_test_ids=True,
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


def test_training_images_are_the_training_split_alone_unless_asked():
    assert training_images(MIXED) == MIXED.train
    joined = join_sources([MIXED])
    assert joined.samples == MIXED.train
    assert not joined.use_all


def test_all_images_train_once_and_without_distractors():
    joined = join_sources([MIXED], use_all=True)
    paths = [sample.path for sample in joined.samples]
    assert paths == ["t/1.jpg", "t/2.jpg", "q/1.jpg", "g/1.jpg", "g/3.jpg"]
    assert joined.labels == [2, 1, 3, 3, 0]  # of 9, 4, 12, 12, 3
    assert joined.domains == [0] * 5
    assert joined.use_all


def test_tables_hold_the_cameras_and_viewpoints_of_test_images_that_train():
    joined = join_sources([MIXED], use_all=True)
    assert (joined.num_cameras, joined.num_views) == (6, 7)  # camera 8 saw a distractor only
    assert joined.camids == [0, 2, 1, 5, 0]
    assert join_sources([MIXED]).num_cameras == 3


def test_test_identities_numbered_apart_come_after_the_training_ones():
    """Training identities go up to 2, so that test identities 0 and 1 become 3 and 4."""
    numbered = [(sample.path, sample.pid) for sample in number_test_images(APART)]
    assert numbered == [("b/3.jpg", 3), ("b/4.jpg", 3), ("b/5.jpg", 4), ("b/6.jpg", 9)]
    assert [sample.pid for sample in training_images(APART, use_all=True)] == [2, 0, 3, 3, 4]


def test_test_identities_of_one_numbering_keep_their_numbers():
    assert number_test_images(MIXED) == [*MIXED.query, *MIXED.gallery]


def test_all_images_of_two_sources():
    joined = join_sources([MIXED, APART], use_all=True)
    assert joined.labels == [2, 1, 3, 3, 0, 5, 4, 6, 6, 7]
    assert joined.domains == [0] * 5 + [1] * 5
    assert [sample.pid for sample in joined.samples] == [9, 4, 12, 12, 3, 2, 0, 3, 3, 4]
    assert joined.camids == [0, 2, 1, 5, 0, 6, 7, 9, 8, 6]
    assert (joined.num_classes, joined.num_cameras) == (8, 10)
    assert joined.camera_ranges() == {"mixed": range(6), "apart": range(6, 10)}
    triples = zip(joined.domains, joined.samples, joined.labels, strict=True)
    label_of = {(domain, sample.pid): label for domain, sample, label in triples}
    assert sorted(label_of, key=label_of.__getitem__) == sorted(label_of)


def test_source_without_a_training_split_can_give_all_its_images():
    test_only = replace(APART, train=[])
    joined = join_sources([test_only], use_all=True)
    assert [sample.path for sample in joined.samples] == ["b/3.jpg", "b/4.jpg", "b/5.jpg"]
    assert joined.labels == [0, 0, 1]
    with pytest.raises(ValueError, match="no training images in apart"):
        join_sources([test_only])


def test_source_of_distractors_alone_has_nothing_to_train_on():
    crowd = DataSplits("crowd", [], [], [Sample("g/1.jpg", 0, 0)], distractors=frozenset([0]))
    with pytest.raises(ValueError, match="no training images in crowd"):
        join_sources([MIXED, crowd], use_all=True)


@pytest.mark.parametrize(
    "names",
    [
        ("dukemtmc", "occ_duke"),
        ("cuhk03", "cuhk03_labeled"),
        ("cuhk03_classic", "cuhk03_classic_labeled"),
        ("VehicleID", "VehicleID_2400"),
    ],
)
def test_two_sources_of_the_same_people_are_refused(names):
    sources = [replace(FIRST, name=name) for name in names]
    with pytest.raises(ValueError, match=f"two data sets of the same people: {', '.join(names)}"):
        join_sources(sources)


def test_data_sets_of_a_family_are_registered():
    assert {*_FAMILIES, *_FAMILIES.values()} <= set(READERS)
    assert family("market1501") == "market1501"


def test_families_of_one_training_split():
    assert set(_FAMILIES.values()) >= _ONE_TRAINING_SPLIT
    assert share_training_split("VehicleID_2400")
    assert share_training_split("veri_wild")
    assert not share_training_split("cuhk03_labeled")


def test_fingerprint_of_targets_sees_images_ids_splits_and_sizes(tmp_path):
    def splits(folder, content=b"abc", pid=1):
        (tmp_path / folder / "query").mkdir(parents=True)
        paths = [tmp_path / folder / "query" / name for name in ("a.jpg", "b.jpg")]
        for path in paths:
            path.write_bytes(content)
        query, gallery = (Sample(str(path), pid, 0) for path in paths)
        return DataSplits("x", [], [query], [gallery]), DataSplits("x", [], [gallery], [query])

    one, other = splits("one")
    known = fingerprint_of_targets([one, other])
    assert fingerprint_of_targets(splits("elsewhere")) == known
    assert fingerprint_of_targets([other, one]) != known
    assert fingerprint_of_targets([one]) != known
    assert fingerprint_of_targets(splits("longer", b"abcd")) != known
    assert fingerprint_of_targets(splits("person", pid=2)) != known

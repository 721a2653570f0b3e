"""Joining sources: labels, cameras, domains, and which images train."""

from dataclasses import replace

import pytest

from datasets.records import DataSplits, Sample
from datasets.sources import join_sources, number_test_images, training_images

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

# One gallery image is also a query, one also a training image; identity 0 is a distractor.
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
# Test identities are numbered separately, from 0.
APART = DataSplits(
    "apart",
    train=[Sample("b/1.jpg", 2, 0), Sample("b/2.jpg", 0, 1)],
    query=[Sample("b/3.jpg", 0, 3)],
    gallery=[Sample("b/4.jpg", 0, 2), Sample("b/5.jpg", 1, 0), Sample("b/6.jpg", 9, 7)],
    distractors=frozenset([9]),
    separate_test_ids=True,
)


def test_one_source_keeps_camids_and_orders_labels_by_pid():
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
def test_source_without_training_images_is_refused(sources, message):
    with pytest.raises(ValueError, match=f"DATASETS.NAMES: {message}"):
        join_sources(sources)


def test_two_sources_of_one_name_are_refused():
    with pytest.raises(ValueError, match=r"DATASETS.NAMES: two data sets have one name"):
        join_sources([FIRST, FIRST])


def test_test_images_are_not_trained_on_by_default():
    assert training_images(MIXED) == MIXED.train
    joined = join_sources([MIXED])
    assert joined.samples == MIXED.train
    assert not joined.use_all


def test_use_all_takes_every_image_once_without_distractors():
    joined = join_sources([MIXED], use_all=True)
    paths = [sample.path for sample in joined.samples]
    assert paths == ["t/1.jpg", "t/2.jpg", "q/1.jpg", "g/1.jpg", "g/3.jpg"]
    assert joined.labels == [2, 1, 3, 3, 0]  # of 9, 4, 12, 12, 3
    assert joined.domains == [0] * 5
    assert joined.use_all


def test_use_all_counts_cameras_and_viewpoints_of_test_images():
    joined = join_sources([MIXED], use_all=True)
    assert (joined.num_cameras, joined.num_views) == (6, 7)  # camera 8 has only a distractor
    assert joined.camids == [0, 2, 1, 5, 0]
    assert join_sources([MIXED]).num_cameras == 3


def test_separate_test_identities_follow_the_training_identities():
    numbered = [(sample.path, sample.pid) for sample in number_test_images(APART)]
    assert numbered == [("b/3.jpg", 3), ("b/4.jpg", 3), ("b/5.jpg", 4), ("b/6.jpg", 9)]
    assert [sample.pid for sample in training_images(APART, use_all=True)] == [2, 0, 3, 3, 4]


def test_other_test_identities_keep_their_pids():
    assert number_test_images(MIXED) == [*MIXED.query, *MIXED.gallery]


def test_use_all_of_two_sources_shares_no_label_or_camera():
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


def test_use_all_accepts_a_source_without_training_split():
    test_only = replace(APART, train=[])
    joined = join_sources([test_only], use_all=True)
    assert [sample.path for sample in joined.samples] == ["b/3.jpg", "b/4.jpg", "b/5.jpg"]
    assert joined.labels == [0, 0, 1]
    with pytest.raises(ValueError, match="no training images in apart"):
        join_sources([test_only])


def test_source_with_only_distractors_is_refused():
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
        ("dukemtmc", "p_dukemtmc"),
        ("occ_duke", "p_dukemtmc"),
        ("cuhk01", "cuhk02"),
    ],
)
def test_two_sources_of_the_same_people_are_refused(names):
    sources = [replace(FIRST, name=name) for name in names]
    with pytest.raises(
        ValueError, match=f"two data sets show the same people: {', '.join(names)}; "
    ):
        join_sources(sources)


def test_labels_and_rows_of_the_camera_table_have_names():
    own = DataSplits(
        "own",
        train=[
            Sample("o/1.jpg", 1, 1, pid_name="Özil", camid_name="yard"),
            Sample("o/2.jpg", 0, 0, pid_name="Moby", camid_name="door"),
        ],
        query=[],
        gallery=[],
    )
    data = join_sources([FIRST, own])
    assert data.identity_names == ["4", "9", "Moby", "Özil"]
    assert data.camera_names == ["1", "", "3", "door", "yard"]


def test_renumbered_test_images_keep_their_names():
    assert [x.identity for x in number_test_images(APART)] == ["0", "0", "1", "9"]

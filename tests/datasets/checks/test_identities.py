"""Identity, camera and query faults."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets.checks.identities import (
    find_camera_faults,
    find_empty_splits,
    find_identity_faults,
    find_query_faults,
    queries_without_match,
    require_test_images,
)
from datasets.checks.report import ERROR, WARNING
from datasets.records import DataSplits, Sample
from processor.metrics.identities import Identities
from processor.metrics.junk_rule import count_valid_queries


def images(folder, *ids, camid=0):
    """An image of each identity, or of (identity, camera) pairs, one by one."""
    pairs = [x if isinstance(x, tuple) else (x, camid) for x in ids]
    return [Sample(f"{folder}/{i}.jpg", *pair) for i, pair in enumerate(pairs)]


def splits(train=(), query=(), gallery=(), **options):
    parts = (images("t", *train), images("q", *query), images("g", *gallery))
    return DataSplits("mine", *parts, **options)


def kinds(faults):
    return {fault.kind: fault for fault in faults}


def test_identity_with_one_image_is_a_warning():
    faults = kinds(find_identity_faults(splits(train=[1, 1, 2, 3, 3])))
    fault = faults["identity with one image"]
    assert list(faults) == ["identity with one image"]
    assert fault.severity == WARNING
    assert fault.what == "1 of 3 training identities have one image"
    assert fault.where == ("identity 2 (t/2.jpg)",)


def test_single_identity_is_an_error_in_training_only():
    faults = list(find_identity_faults(splits(train=[1, 1], query=[2], gallery=[2, 2])))
    assert [(x.severity, x.where) for x in faults if x.kind == "single identity"] == [
        (ERROR, ("identity 1 (t/0.jpg)",)),
        (WARNING, ("identity 2 (g/0.jpg)",)),
    ]


def test_identities_in_training_and_test_are_found():
    data = splits(train=[0, 0, 1, 1, 2, 2], query=[1], gallery=[0, 1, 5])
    fault = kinds(find_identity_faults(data))["identity in training and test"]
    assert fault.severity == WARNING
    assert fault.where == ("identity 1 (g/1.jpg)", "identity 0 (g/0.jpg)")
    data = splits(train=[0, 0, 1, 1], query=[5], gallery=[0, 5], distractors=frozenset([0]))
    assert kinds(find_identity_faults(data)) == {}
    data = splits(train=[0, 0, 1, 1], query=[1], gallery=[0, 1], separate_test_ids=True)
    assert kinds(find_identity_faults(data)) == {}


def test_single_camera_is_found():
    (fault,) = find_camera_faults(splits(train=[1], query=[2], gallery=[2]))
    assert fault.what == "all 3 images are from camera 1"
    assert not list(find_camera_faults(splits(train=[(1, 1)], query=[2], gallery=[2])))
    assert not list(find_camera_faults(splits()))


def test_unmatched_queries_follow_the_junk_rule():
    data = splits(query=[(1, 0), (2, 0), (3, 0)], gallery=[(1, 1), (1, 0), (2, 0), (4, 1)])
    (fault,) = find_query_faults(data, ignore_same_camera=True)
    assert fault.severity == WARNING
    assert fault.what == (
        "2 of 3 queries have no match in the gallery from another camera, 1 have none at all"
    )
    assert fault.where == (
        "q/1.jpg (identity 2, camera 1)",
        "q/2.jpg (identity 3, camera 1)",
    )
    (fault,) = find_query_faults(data, ignore_same_camera=False)
    assert fault.where == ("q/2.jpg (identity 3, camera 1)",)


def test_no_query_with_a_match_is_an_error():
    (fault,) = find_query_faults(splits(query=[1], gallery=[1]), ignore_same_camera=True)
    assert fault.severity == ERROR
    without = splits(query=[1], gallery=[1], ignore_same_camera=False)
    assert not list(find_query_faults(without, ignore_same_camera=True))


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=8),
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=8),
    st.booleans(),
)
def test_unmatched_queries_are_those_the_evaluation_drops(query, gallery, ignore_same_camera):
    data = splits(query=query, gallery=gallery)
    unmatched = queries_without_match(data, ignore_same_camera=ignore_same_camera)
    arrays = [[x[place] for x in side] for place in (0, 1) for side in (query, gallery)]
    ids = Identities.check(*arrays, ignore_same_camera=ignore_same_camera)
    if len(unmatched) == len(query):
        with pytest.raises(ValueError, match="0 of"):
            count_valid_queries(ids)
    else:
        valid = count_valid_queries(ids)
        assert len(query) - len(unmatched) == valid


def test_empty_splits_are_errors_only_where_a_run_uses_them():
    data = splits(query=[1], gallery=[])
    for trains, tests in ((True, False), (False, True), (False, False)):
        found = find_empty_splits(data, trains=trains, tests=tests)
        assert [(fault.what, fault.severity) for fault in found] == [
            ("no train images", ERROR if trains else WARNING),
            ("no gallery images", ERROR if tests else WARNING),
        ]


@pytest.mark.parametrize("training", [[1, 1], []])
def test_target_without_test_images_is_refused_with_the_remedy(training):
    with pytest.raises(ValueError, match="data set mine is for training only") as error:
        require_test_images(splits(train=training))
    assert "DATASETS.TARGETS" in str(error.value)
    require_test_images(splits(query=[1], gallery=[1]))
    require_test_images(splits(query=[1]))  # the ranking reports the missing gallery

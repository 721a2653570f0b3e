"""The draw of identities, and their training labels."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets.records import DataSplits, Sample
from datasets.sources import join_sources
from processor.evaluation.identity_sample import (
    choose_identities,
    images_of_split,
    labels_of_identities,
)


def images(pids, name="a"):
    return [Sample(f"{name}{place}", pid, place % 3) for place, pid in enumerate(pids)]


@given(
    st.lists(st.lists(st.integers(0, 9), min_size=12, max_size=40), min_size=1, max_size=3),
    st.integers(3, 12),
    st.integers(0, 5),
)
def test_all_images_of_at_most_the_requested_identities_are_drawn(groups, count, seed):
    given_images = {str(i): images(pids, str(i)) for i, pids in enumerate(groups)}
    chosen = choose_identities(given_images, count, seed)
    assert chosen == choose_identities(given_images, count, seed)
    assert list(chosen) == list(given_images)
    drawn = {name: {sample.pid for sample in own} for name, own in chosen.items()}
    assert sum(map(len, drawn.values())) <= count
    for name, own in given_images.items():
        several = {x.pid for x in own if sum(y.pid == x.pid for y in own) > 1}
        share = -(-count // len(groups))
        assert drawn[name] <= several
        assert len(drawn[name]) in (min(share, len(several)), min(share - 1, len(several)))
        assert sorted(chosen[name], key=str) == sorted(
            (x for x in own if x.pid in drawn[name]), key=str
        )


def test_remainder_goes_to_the_first_data_sets():
    many = images([pid for pid in range(9) for _ in range(2)])
    chosen = choose_identities({"a": many, "b": many, "c": many}, 7)
    assert [len(own) // 2 for own in chosen.values()] == [3, 2, 2]


def test_seeds_give_different_draws():
    many = {"a": images([pid for pid in range(50) for _ in range(2)])}
    draws = {tuple(x.pid for x in choose_identities(many, 5, seed)["a"]) for seed in range(5)}
    assert len(draws) == 5


def test_too_few_identities_raise():
    with pytest.raises(ValueError, match="a: no identity has two images"):
        choose_identities({"a": images([1, 2, 3])}, 3)
    with pytest.raises(ValueError, match="--max_identities 1: expected at least one for each of 2"):
        choose_identities({"a": images([1, 1]), "b": images([1, 1])}, 1)


SOURCE = DataSplits(
    "a",
    train=images([7, 7, 3], "train"),
    query=images([1, 2], "query"),
    gallery=[*images([1, 0, -1], "gallery"), Sample("query1", 2, 1)],
    distractors=frozenset({0, -1}),
)


def test_test_split_has_no_distractors_and_train_split_obeys_use_all():
    assert images_of_split(SOURCE, "train", use_all=False) == SOURCE.train
    both = images_of_split(SOURCE, "test", use_all=False)
    assert [(x.path, x.pid) for x in both] == [("query0", 1), ("query1", 2), ("gallery0", 1)]
    everything = images_of_split(SOURCE, "train", use_all=True)
    assert {x.path for x in everything} == {x.path for x in [*SOURCE.train, *both]}


def test_labels_of_joined_sources():
    other = DataSplits("b", images([7, 4]), [], [])
    labels = labels_of_identities(join_sources([SOURCE, other]))
    assert labels == {("a", 3): 0, ("a", 7): 1, ("b", 4): 2, ("b", 7): 3}

"""Random P x K batches, for every set of labels."""

from collections import Counter
from itertools import chain
from random import Random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.samplers import RandomIdentitySampler

NUM_IMAGES_MARKET = 12_936
NUM_PIDS_MARKET = 751


@st.composite
def label_sets(draw):
    """Labels of identities with 1 to 12 images each in any order, P, K and a seed."""
    sizes = draw(st.lists(st.integers(1, 12), min_size=2, max_size=12))
    labels = [label for label, size in enumerate(sizes) for _ in range(size)]
    labels = draw(st.permutations(labels))
    num_pids = draw(st.integers(2, len(sizes)))
    num_instances = draw(st.integers(1, 5))
    return labels, num_pids, num_instances, draw(st.integers(0, 2**31))


def plan_of(sampler, epoch):
    sampler.set_epoch(epoch)
    return [list(batch) for batch in sampler]


@settings(max_examples=150, deadline=None)
@given(label_sets(), st.integers(0, 50))
def test_every_batch_is_exactly_p_identities_by_k_images(case, epoch):
    labels, num_pids, num_instances, seed = case
    sampler = RandomIdentitySampler(labels, num_pids, num_instances, seed)
    sampler.set_epoch(epoch)
    announced = len(sampler)
    batches = list(sampler)
    assert announced == len(batches) == len(sampler) == sampler.stats["batches"]
    assert batches  # at least P identities have a chunk initially
    for batch in batches:
        assert len(batch) == num_pids * num_instances
        groups = [
            {labels[i] for i in batch[start : start + num_instances]}
            for start in range(0, len(batch), num_instances)
        ]
        assert all(len(group) == 1 for group in groups)  # an identity's images are consecutive
        assert len(set().union(*groups)) == num_pids  # distinct


@settings(max_examples=150, deadline=None)
@given(label_sets())
def test_images_repeat_only_in_identities_smaller_than_k(case):
    labels, num_pids, num_instances, seed = case
    sampler = RandomIdentitySampler(labels, num_pids, num_instances, seed)
    images = Counter(labels)
    drawn = Counter(index for batch in sampler for index in batch)
    for index, times in drawn.items():
        assert times == 1 or images[labels[index]] < num_instances
    assert sampler.stats["image_coverage"] == pytest.approx(len(drawn) / len(labels))


@settings(max_examples=60, deadline=None)
@given(label_sets())
def test_plan_stops_only_when_fewer_than_p_identities_have_a_chunk(case):
    labels, num_pids, num_instances, seed = case
    sampler = RandomIdentitySampler(labels, num_pids, num_instances, seed)
    left = {label: max(n // num_instances, 1) for label, n in Counter(labels).items()}
    for batch in sampler:
        for index in batch[::num_instances]:
            left[labels[index]] -= 1
    assert all(chunks >= 0 for chunks in left.values())
    assert sum(chunks > 0 for chunks in left.values()) < num_pids


@settings(max_examples=60, deadline=None)
@given(label_sets(), st.integers(0, 5))
def test_plan_depends_only_on_seed_and_epoch(case, epoch):
    labels, num_pids, num_instances, seed = case
    one = RandomIdentitySampler(labels, num_pids, num_instances, seed)
    two = RandomIdentitySampler(labels, num_pids, num_instances, seed)
    plan_of(two, epoch + 3)  # an earlier plan does not matter
    assert plan_of(one, epoch) == plan_of(two, epoch)
    assert list(one) == list(one)  # iterating changes nothing


def test_another_epoch_and_another_seed_give_another_plan():
    labels = [label for label in range(20) for _ in range(8)]
    sampler = RandomIdentitySampler(labels, 4, 4, seed=3)
    plans = [plan_of(sampler, epoch) for epoch in range(4)]
    plans.append(plan_of(RandomIdentitySampler(labels, 4, 4, seed=4), 0))
    assert all(a != b for i, a in enumerate(plans) for b in plans[:i])


@settings(max_examples=60, deadline=None)
@given(label_sets(), st.integers(0, 3), st.integers(2, 4))
def test_processes_share_the_plan_of_one_process(case, epoch, world_size):
    labels, num_pids, num_instances, seed = case
    num_pids -= num_pids % world_size
    if not num_pids:
        return
    single = plan_of(RandomIdentitySampler(labels, num_pids, num_instances, seed), epoch)
    slices = [
        plan_of(
            RandomIdentitySampler(labels, num_pids, num_instances, seed, rank, world_size), epoch
        )
        for rank in range(world_size)
    ]
    assert single == [list(chain(*parts)) for parts in zip(*slices, strict=True)]
    for batch in slices[0]:  # a process holds whole identities
        counts = Counter(labels[i] for i in batch)
        assert set(counts.values()) == {num_instances}


def test_identity_with_one_image_repeats_it():
    sampler = RandomIdentitySampler([0, 1, 1, 1, 1], num_pids=2, num_instances=4, seed=0)
    (batch,) = sampler
    assert Counter(batch) == {0: 4, 1: 1, 2: 1, 3: 1, 4: 1}


def test_fewer_identities_than_p_are_refused_with_the_option():
    with pytest.raises(ValueError, match=r"needs 3 identities, the training set has 2") as error:
        RandomIdentitySampler([0, 0, 1, 1], num_pids=3, num_instances=2)
    assert "SOLVER.STAGE2.IMS_PER_BATCH" in str(error.value)
    assert "to 4 or less" in str(error.value)


def test_identities_that_do_not_divide_among_processes_are_refused():
    with pytest.raises(ValueError, match=r"3 identities per batch do not divide among 2"):
        RandomIdentitySampler([0, 1, 2, 3], 3, 1, world_size=2)


@pytest.mark.parametrize(
    ("labels", "message"),
    [([], "empty"), ([0, 2], "no image has label 1"), ([0, -1, 1], "not -1")],
)
def test_labels_with_gaps_are_refused(labels, message):
    with pytest.raises(ValueError, match=message):
        RandomIdentitySampler(labels, 2, 1)


def market_like_labels():
    """751 identities and 12,936 images, unevenly distributed as in Market-1501."""
    rng = Random(0)
    sizes = [max(2, round(rng.lognormvariate(2.65, 0.6))) for _ in range(NUM_PIDS_MARKET)]
    while (difference := NUM_IMAGES_MARKET - sum(sizes)) != 0:
        place = rng.randrange(NUM_PIDS_MARKET)
        sizes[place] = max(2, sizes[place] + (1 if difference > 0 else -1))
    return [label for label, size in enumerate(sizes) for _ in range(size)]


def test_an_epoch_covers_about_nine_tenths_of_market():
    labels = market_like_labels()
    assert (len(labels), max(labels) + 1) == (NUM_IMAGES_MARKET, NUM_PIDS_MARKET)
    sampler = RandomIdentitySampler(labels, num_pids=32, num_instances=4, seed=1)
    drawn = {index for batch in sampler for index in batch}
    assert sampler.stats["image_coverage"] == len(drawn) / NUM_IMAGES_MARKET
    assert 0.86 < sampler.stats["image_coverage"] < 0.93
    assert len(sampler) > 85


@pytest.mark.parametrize("kind", [np.array, torch.tensor])
def test_labels_may_be_arrays(kind):
    labels = [0] * 5 + [1] * 4 + [2] * 6
    batches = list(RandomIdentitySampler(kind(labels), 2, 2, seed=3))
    assert batches == list(RandomIdentitySampler(labels, 2, 2, seed=3))
    assert all(type(index) is int for batch in batches for index in batch)

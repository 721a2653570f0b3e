"""Batches from clusters: equal to the original's passes; invariants of every clustering."""

from collections import Counter
from random import Random

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from datasets.samplers import ClusterSampler, EpochBatches
from datasets.samplers.clusters import PassGenerators, cluster_pass
from datasets.samplers.options import PassOptions


def generators(seed):
    return PassGenerators(
        torch.Generator().manual_seed(seed), Random(seed), np.random.RandomState(seed)
    )


def groups_of(labels):
    return [[i for i, label in enumerate(labels) if label == own] for own in range(max(labels) + 1)]


@pytest.mark.parametrize("num_instances", [4, 16])
def test_passes_equal_the_originals(golden, num_instances):
    arrays = golden("sampler")
    groups = groups_of(arrays["pids"].tolist())
    source = generators(1)
    for epoch in (0, 1):
        found = cluster_pass(groups, arrays["cams"].tolist(), num_instances, source)
        assert found == arrays[f"epoch{epoch}_K{num_instances}"].tolist()


@st.composite
def clusterings(draw):
    """Labels with outliers, camids, batch size and images per cluster that fill a batch."""
    sizes = draw(st.lists(st.integers(1, 9), min_size=2, max_size=9))
    labels = [label for label, size in enumerate(sizes) for _ in range(size)]
    labels = draw(st.permutations(labels + [-1] * draw(st.integers(0, 6))))
    camids = draw(st.lists(st.integers(0, 2), min_size=len(labels), max_size=len(labels)))
    num_instances = draw(st.integers(1, 5))
    length = sum(num_instances if size > 1 else 1 for size in sizes)
    return labels, camids, draw(st.integers(1, length)), num_instances


def sampler_of(case, num_batches=0, seed=0, **options):
    labels, camids, batch_size, num_instances = case
    options = PassOptions(num_batches, **options)
    sampler = ClusterSampler(camids, batch_size, num_instances, seed, options)
    sampler.set_clusters(labels)
    return sampler


@settings(max_examples=150)
@given(clusterings(), st.integers(0, 2**32 - 1), st.booleans())
def test_pass_takes_an_anchor_and_companions_of_every_cluster(case, seed, camera_aware):
    labels, camids, _, num_instances = case
    groups = groups_of(labels)
    positions = cluster_pass(
        groups, camids, num_instances, generators(seed), camera_aware=camera_aware
    )
    seen = []
    while positions:
        label = labels[positions[0]]
        count = num_instances if len(groups[label]) > 1 else 1
        anchor, companions, positions = positions[0], positions[1:count], positions[count:]
        seen.append(label)
        allowed = set(groups[label]) - {anchor}
        if camera_aware:
            allowed = {i for i in allowed if camids[i] != camids[anchor]} or allowed
        assert len(companions) == count - 1
        assert set(companions) <= allowed
        if len(allowed) >= num_instances:
            assert len(set(companions)) == len(companions)
    assert sorted(seen) == list(range(len(groups)))


@settings(max_examples=100)
@given(clusterings(), st.integers(1, 30), st.integers(0, 2**40), st.integers(0, 50))
def test_plan_has_the_requested_number_of_batches(case, num_batches, seed, epoch):
    labels, _, batch_size, _ = case
    sampler = sampler_of(case, num_batches, seed)
    sampler.set_epoch(epoch)
    batches = list(sampler)
    assert len(batches) == len(sampler) == num_batches == sampler.stats["batches"]
    assert {len(batch) for batch in batches} == {batch_size}
    drawn = {i for batch in batches for i in batch}
    assert all(labels[i] >= 0 for i in drawn)
    clustered = sum(label >= 0 for label in labels)
    assert sampler.stats["image_coverage"] == pytest.approx(len(drawn) / clustered)
    seen = {labels[i] for i in drawn}
    assert sampler.stats["cluster_coverage"] == pytest.approx(len(seen) / (max(labels) + 1))
    again = sampler_of(case, num_batches, seed)
    again.set_epoch(epoch + 1)
    list(again)  # an earlier plan does not matter
    again.set_epoch(epoch)
    assert list(again) == batches


@settings(max_examples=60)
@given(clusterings())
def test_pass_drops_its_incomplete_batch(case):
    labels, _, batch_size, num_instances = case
    length = sum(num_instances if len(group) > 1 else 1 for group in groups_of(labels))
    sampler = sampler_of(case)
    assert len(sampler) == length // batch_size
    assert sampler.stats["passes"] == 1
    several = sampler_of(case, 2 * len(sampler) + 1)
    assert several.stats["passes"] == 3
    assert list(several)[: len(sampler)] == list(sampler)


@settings(max_examples=60)
@given(clusterings(), st.integers(0, 5))
def test_partners_follow_the_same_anchors(case, seed):
    labels, _, batch_size, _ = case
    alone = list(sampler_of(case, 4, seed))
    for plain, batch in zip(alone, sampler_of(case, 4, seed, pairs=True), strict=True):
        assert batch[:batch_size] == plain
        assert [labels[i] for i in batch[batch_size:]] == [labels[i] for i in plain]


def test_partners_are_uniform_over_the_cluster():
    labels = [0, 0, 0, 0, -1, 1, 1]
    sampler = ClusterSampler(
        [0, 1, 0, 1, 0, 0, 1], 2, 2, seed=3, options=PassOptions(8000, pairs=True)
    )
    sampler.set_clusters(labels)
    drawn = Counter()
    for batch in sampler:
        drawn.update(zip(batch[:2], batch[2:], strict=True))
    for own in ([0, 1, 2, 3], [5, 6]):
        total = sum(drawn[pair] for pair in drawn if pair[0] in own)
        shares = [drawn[anchor, partner] / total for anchor in own for partner in own]
        assert shares == pytest.approx([1 / len(own) ** 2] * len(own) ** 2, abs=0.01)


def test_shuffled_pass_draws_every_clustered_image_once():
    labels = [0, 1, -1, 0, 1, 2, -1, 2, 0]
    sampler = ClusterSampler([0] * 9, 3, None, seed=5)
    sampler.set_clusters(labels)
    batches = list(sampler)
    assert [len(batch) for batch in batches] == [3, 3]
    assert len({i for batch in batches for i in batch} - {2, 6}) == 6  # no repeats, no outliers
    sampler.set_epoch(1)
    assert list(sampler) != batches


def test_plan_depends_on_seed_epoch_and_clusters():
    labels = [label for label in range(12) for _ in range(6)]
    sampler = ClusterSampler([0, 1] * 36, 8, 4, 1, PassOptions(10))
    plans = []
    for epoch, turn in [(0, 0), (1, 0), (1, 3)]:
        sampler.set_clusters(np.roll(labels, turn))
        sampler.set_epoch(epoch)
        plans.append(list(sampler))
    other = ClusterSampler([0, 1] * 36, 8, 4, 2, PassOptions(10))
    other.set_clusters(torch.tensor(labels))
    plans.append(list(other))
    assert all(a != b for i, a in enumerate(plans) for b in plans[:i])


def test_planning_before_clustering_is_refused():
    sampler = ClusterSampler([0] * 4, 2, 2)
    sampler.set_epoch(3)
    for ask in (list, len, lambda plan: plan.stats):
        with pytest.raises(RuntimeError, match="set_clusters"):
            ask(sampler)


@pytest.mark.parametrize(
    ("labels", "num_instances", "message"),
    [
        ([-1] * 6, 2, r"all 6 images are outliers: raise DSGL\.EPS"),
        ([0, 0, 2, 2, 2, 2], 2, "no image has label 1"),
        ([0, 0, 1], 2, "3 cluster labels, but 6 camids"),
    ],
)
def test_labels_without_usable_clusters_are_refused(labels, num_instances, message):
    with pytest.raises(ValueError, match=message):
        ClusterSampler([0] * 6, 8, num_instances).set_clusters(labels)


@pytest.mark.parametrize(
    ("labels", "num_instances", "length"),
    [
        ([0, 0, 1, 1, 2, 2], 2, 6),
        ([0, 1, 2, 3, 3, 3], 4, 7),  # a cluster of one image fills one place
        ([0, 0, 0, 1, 1, 1], None, 6),
        ([0, 0, -1, -1, -1, 1], 1, 2),
    ],
)
def test_clusters_that_do_not_fill_a_batch_are_repeated_with_a_warning(
    labels, num_instances, length, caplog
):
    sampler = ClusterSampler([0] * 6, 20, num_instances, seed=3, options=PassOptions(5))
    sampler.set_clusters(labels)
    count = max(labels) + 1
    assert f"{count} clusters fill {length} of the 20 places in a batch" in caplog.text
    passes = -(-20 // length)
    assert (len(list(sampler)), sampler.stats["passes"]) == (5, 5 * passes)
    for batch in sampler:
        assert len(batch) == 20
        visits = Counter(labels[i] for i in batch)
        assert -1 not in visits
        assert set(visits) == set(range(count))
    again = ClusterSampler([0] * 6, 20, num_instances, seed=3, options=PassOptions(5))
    again.set_clusters(labels)
    assert list(again) == list(sampler)


def test_clusters_that_fill_a_batch_give_no_warning(caplog):
    ClusterSampler([0] * 6, 6, 2).set_clusters([0, 0, 1, 1, 2, 2])
    assert caplog.text == ""


@settings(max_examples=40)
@given(clusterings(), st.integers(1, 4))
def test_processes_share_anchors_and_their_partners(case, processes):
    batch_size = case[2]
    assume(batch_size % processes == 0)
    part = batch_size // processes
    whole = list(EpochBatches(sampler_of(case, 3, pairs=True), 7))
    shares = [
        EpochBatches(
            sampler_of(case, 3, pairs=True),
            7,
            lambda count, r=rank: range(count)[r * part : (r + 1) * part],
        )
        for rank in range(processes)
    ]
    for batch, *parts in zip(whole, *shares, strict=True):
        anchors = [key for own in parts for key in own[:part]]
        partners = [key for own in parts for key in own[part:]]
        assert anchors + partners == batch

"""GS: every identity with its nearest identities."""

from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.samplers import GraphSampler, nearest_identities


@st.composite
def data_sets(draw):
    """Labels of identities with 1 to 9 images each in any order, P and K."""
    counts = draw(st.lists(st.integers(1, 9), min_size=2, max_size=15))
    labels = draw(st.permutations([x for x, count in enumerate(counts) for _ in range(count)]))
    return labels, draw(st.integers(1, len(counts))), draw(st.integers(1, 4))


@settings(max_examples=100)
@given(data_sets())
def test_batch_is_an_identity_with_its_nearest(data):
    labels, num_pids, num_instances = data
    num_labels = max(labels) + 1
    features = torch.randn(num_labels, 3, generator=torch.Generator().manual_seed(0))
    neighbours = nearest_identities(features, max(num_pids - 1, 1))
    sampler = GraphSampler(labels, num_pids, num_instances, seed=2)
    sampler.set_graph(neighbours)
    batches = list(sampler)
    assert len(batches) == len(sampler) == num_labels
    centers = set()
    images = Counter(labels)
    for batch in batches:
        groups = [batch[i : i + num_instances] for i in range(0, len(batch), num_instances)]
        owners = [labels[group[0]] for group in groups]
        assert all(
            labels[i] == owner for group, owner in zip(groups, owners, strict=True) for i in group
        )
        assert owners[1:] == neighbours[owners[0]].tolist()[: num_pids - 1]
        for group, owner in zip(groups, owners, strict=True):
            assert len(set(group)) == min(num_instances, images[owner])
        centers.add(owners[0])
    assert centers == set(range(num_labels))


def test_images_are_drawn_in_turn():
    labels = [label for label in range(4) for _ in range(8)]
    sampler = GraphSampler(labels, 4, 2)  # every identity is in all four batches
    sampler.set_graph(nearest_identities(torch.randn(4, 2), 3))
    assert Counter(i for batch in sampler for i in batch) == dict.fromkeys(range(32), 1)
    assert sampler.stats["repeated_images"] == sampler.stats["dropped_images"] == 0
    assert sampler.stats["batches"] == 4
    assert sampler.stats["identity_coverage"] == sampler.stats["image_coverage"] == 1


def test_images_beyond_the_batches_are_counted():
    sampler = GraphSampler([label for label in range(3) for _ in range(5)], 1, 2)
    sampler.set_graph(nearest_identities(torch.randn(3, 2), 1))
    batches = list(sampler)
    assert len({i for batch in batches for i in batch}) == 6
    assert sampler.stats["image_coverage"] == 6 / 15
    assert sampler.stats["dropped_images"] == 9
    assert sampler.stats["repeated_images"] == 0


def test_no_image_is_twice_in_a_batch_when_its_identity_begins_anew():
    labels = [label for label in range(8) for _ in range(3)]
    sampler = GraphSampler(labels, 8, 2)  # 16 images of each identity's three
    sampler.set_graph(nearest_identities(torch.randn(8, 2), 7))
    for epoch in range(5):
        sampler.set_epoch(epoch)
        assert all(len(set(batch)) == len(batch) == 16 for batch in sampler)


def test_graph_with_too_few_neighbours_is_refused():
    sampler = GraphSampler([0, 1, 2, 3], 4, 2)
    with pytest.raises(ValueError, match="with 2 neighbours for 4 labels in batches of 4"):
        sampler.set_graph(torch.zeros(4, 2, dtype=torch.long))
    with pytest.raises(RuntimeError, match="set_graph"):
        list(sampler)


def test_missing_neighbours_are_refused():
    sampler = GraphSampler([0, 0, 1, 1, 2, 2], 2, 2)
    with pytest.raises(ValueError, match=r"missing neighbours \(-1\)"):
        sampler.set_graph(torch.tensor([[1], [-1], [0]]))

"""Walks over the graph: invariants on random graphs, small graphs by hand."""

from collections import Counter
from functools import partial
from random import Random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.samplers import nearest_identities
from datasets.samplers.neighbours import mean_hits, thirds
from datasets.samplers.walks import SCARCITY, depth_first_walk, greedy_walk


@st.composite
def graphs(draw):
    num_labels = draw(st.integers(2, 30))
    labels = range(num_labels)
    neighbours = [
        draw(st.lists(st.sampled_from([x for x in labels if x != i]), unique=True, max_size=5))
        for i in labels
    ]
    visits = draw(st.lists(st.integers(1, 4), min_size=num_labels, max_size=num_labels))
    num_pids = draw(st.integers(1, num_labels))
    return neighbours, visits, num_pids


WALKS = {
    "nearest first": partial(depth_first_walk, shuffle_rows=False),
    "shuffled": depth_first_walk,
    "greedy": greedy_walk,
    "balanced": partial(greedy_walk, scarcity=SCARCITY),
}


@pytest.mark.parametrize("way", WALKS)
@settings(max_examples=150)
@given(graph=graphs(), seed=st.integers(0, 5))
def test_every_walk_fills_batches_within_the_visits(way, graph, seed):
    """Full batches of distinct identities; every identity is drawn, at most once per chunk."""
    neighbours, visits, num_pids = graph
    walk = WALKS[way](neighbours, visits, num_pids, Random(seed))
    assert all(len(batch) == len(set(batch)) == num_pids for batch in walk.batches)
    drawn = Counter(label for batch in walk.batches for label in batch)
    assert set(drawn) == set(range(len(visits)))
    if walk.extra:
        drawn -= Counter(walk.batches[-1][-walk.extra :])
    assert all(count <= visits[label] for label, count in drawn.items())
    left = [label for label, count in enumerate(visits) if drawn[label] < count]
    assert len(left) < num_pids
    assert WALKS[way](neighbours, visits, num_pids, Random(seed)) == walk


def test_nearest_first_walk_matches_a_hand_worked_case():
    """0 -> 1 -> 2 -> 3 on a line: batches are filled in that order."""
    neighbours = [[1], [2, 0], [3, 1], [2]]
    rng = Random(0)
    rng.random = lambda: 0.0  # the start is the first identity
    walk = depth_first_walk(neighbours, [1, 1, 1, 1], 2, rng, shuffle_rows=False)
    assert walk.batches == [[0, 1], [2, 3]]
    assert (walk.restarts, walk.extra) == (0, 0)


def test_separate_clusters_smaller_than_a_batch_fill_an_epoch():
    """Thirty clusters of 25 with P = 32: without restarts, no batch would be filled."""
    neighbours = [[25 * (i // 25) + (i + step) % 25 for step in range(1, 11)] for i in range(750)]
    walk = depth_first_walk(neighbours, [4] * 750, 32, Random(1))
    assert len(walk.batches) >= 92
    assert len({label for batch in walk.batches for label in batch}) == 750
    assert walk.restarts >= 29
    assert mean_hits(walk.batches, neighbours) > 6


def test_greedy_walk_matches_a_hand_worked_case():
    """Two triangles, P = 3: the triangles stay together."""
    neighbours = [[1, 2], [0, 2], [0, 1], [4, 5], [3, 5], [3, 4]]
    walk = greedy_walk(neighbours, [2] * 6, 3, Random(4))
    assert sorted(map(sorted, walk.batches)) == [[0, 1, 2], [0, 1, 2], [3, 4, 5], [3, 4, 5]]
    assert mean_hits(walk.batches, neighbours) == 2


def test_greedy_walk_finds_more_hits_at_the_same_coverage():
    features = torch.randn(300, 8, generator=torch.Generator().manual_seed(2))
    neighbours = nearest_identities(features, 10).tolist()
    visits = [4] * 300
    depth_first = depth_first_walk(neighbours, visits, 16, Random(1))
    greedy = greedy_walk(neighbours, visits, 16, Random(1))
    assert len(greedy.batches) >= len(depth_first.batches)
    assert mean_hits(greedy.batches, neighbours) > 1.5 * mean_hits(depth_first.batches, neighbours)


def test_starts_alternate_between_domains():
    """Without links, every visit is a start."""
    domains = [0] * 4 + [1] * 4 + [2] * 4
    for walk in (depth_first_walk, greedy_walk):
        found = walk([[]] * 12, [1] * 12, 3, Random(4), domains=domains)
        assert len(found.batches) == 4
        assert [sorted(domains[x] for x in batch) for batch in found.batches] == [[0, 1, 2]] * 4


def test_exhausted_domain_is_skipped():
    walk = depth_first_walk([[]] * 8, [1] * 8, 2, Random(0), domains=[0] * 7 + [1])
    assert sorted(label for batch in walk.batches for label in batch) == list(range(8))


@pytest.mark.parametrize("way", WALKS)
@pytest.mark.parametrize("seed", range(4))
def test_domain_that_runs_out_leaves_its_turns_to_the_others(way, seed):
    """The first domain has one identity with one chunk, the second nine with three each."""
    neighbours, visits, domains = [[] for _ in range(10)], [1] + [3] * 9, [0] + [1] * 9
    walk = WALKS[way](neighbours, visits, 3, Random(seed), domains=domains)
    drawn = Counter(label for batch in walk.batches for label in batch)
    assert drawn[0] == 1
    assert set(drawn) == set(range(10))
    assert sum(drawn.values()) >= 21  # of 28 visits; nothing ends with the first domain
    assert all(len(set(batch)) == 3 for batch in walk.batches)


@pytest.mark.parametrize(("scarcity", "second"), [(0.0, 2), (0.25, 1)])
def test_scarcity_prefers_the_identity_that_will_soon_be_alone(scarcity, second):
    """From 0, both neighbours have two links to the batch; 1 has no other company, 2 has much."""
    neighbours = [[2, 1], [0], [0, 3, 4, 5], [2], [2], [2]]
    rng = Random(0)
    rng.random = lambda: 0.0  # the start is the first identity, ties go to the first neighbour
    walk = greedy_walk(neighbours, [1] * 6, 2, rng, scarcity=scarcity)
    assert walk.batches[0] == [0, second]


@pytest.mark.parametrize("scarcity", [0.0, 0.25, 1.0])
@settings(max_examples=100)
@given(graph=graphs(), seed=st.integers(0, 5))
def test_greedy_walk_takes_what_is_worth_most(scarcity, graph, seed):
    """Every step of it against the definition: links less scarcity times the company left."""
    neighbours, visits, num_pids = graph
    walk = greedy_walk(neighbours, visits, num_pids, Random(seed), scarcity=scarcity)
    left, restarts = list(visits), 0

    def links(one, others):
        return sum((other in neighbours[one]) + (one in neighbours[other]) for other in others)

    def rank(label, batch):
        offered = sum(left[x] * links(label, [x]) for x in range(len(left)))
        return round(links(label, batch) - scarcity * offered / left[label], 9), left[label]

    for batch in walk.batches[: -1 if walk.extra else None]:
        for place, chosen in enumerate(batch[1:], start=1):
            begun = batch[:place]
            linked = [
                label
                for label, count in enumerate(left)
                if count and label not in begun and links(label, begun)
            ]
            restarts += not linked
            assert not linked or chosen in linked
            if linked:
                assert rank(chosen, begun) == max(rank(label, begun) for label in linked)
        for label in batch:
            left[label] -= 1
    assert walk.extra or walk.restarts == restarts


def test_balanced_walk_is_hard_to_the_end():
    """Features with hubs, about one chunk per identity: nobody could be drawn again."""
    features = torch.randn(2_000, 64, generator=torch.Generator().manual_seed(2))
    neighbours = nearest_identities(features, 10).tolist()
    plain, balanced = (
        greedy_walk(neighbours, [1] * 2_000, 32, Random(1), scarcity=scarcity)
        for scarcity in (0.0, SCARCITY)
    )
    first, _, last = (mean_hits(part, neighbours) for part in thirds(plain.batches))
    assert last < 0.5 * first
    first, _, last = (mean_hits(part, neighbours) for part in thirds(balanced.batches))
    assert last > 0.8 * first
    assert mean_hits(balanced.batches, neighbours) > mean_hits(plain.batches, neighbours)

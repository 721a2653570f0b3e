"""The graph of look-alikes and the walk over it, against slow references and by invariants."""

from collections import Counter
from functools import partial
from random import Random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.samplers import nearest_identities, neighbours
from datasets.samplers.neighbours import mean_hits, mutual_neighbours
from datasets.samplers.walks import depth_first_walk, greedy_walk


def slow_neighbours(features, k, skip):
    rows = []
    for i, row in enumerate(features.double()):
        distances = [(float((row - other).square().sum()), j) for j, other in enumerate(features)]
        rows.append([j for _, j in sorted(d for d in distances if d[1] != i)][skip : skip + k])
    return rows


@pytest.mark.parametrize("skip", [0, 2])
@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_neighbours_equal_a_slow_search(skip, offset):
    features = torch.randn(40, 6, generator=torch.Generator().manual_seed(1)) + offset
    found = nearest_identities(features, 5, skip)
    assert found.dtype == torch.long
    assert found.tolist() == slow_neighbours(features, 5, skip)


def test_blocks_do_not_change_the_neighbours(monkeypatch):
    features = torch.randn(50, 4)
    expected = nearest_identities(features, 7)
    monkeypatch.setattr(neighbours, "BLOCK_ENTRIES", 150)  # three rows at a time
    assert torch.equal(nearest_identities(features, 7), expected)


def test_equal_rows_are_neighbours_but_never_a_row_of_itself():
    features = torch.cat([torch.zeros(4, 3), torch.ones(4, 3)])
    found = nearest_identities(features, 3)
    for i, row in enumerate(found.tolist()):
        half = set(range(4)) if i < 4 else set(range(4, 8))
        assert set(row) == half - {i}


def test_fewer_others_than_asked_gives_them_all(caplog):
    with caplog.at_level("WARNING"):
        found = nearest_identities(torch.tensor([[0.0], [1.0], [3.0]]), 10, skip=1)
    assert found.tolist() == [[2], [2], [0]]
    assert "only 2 other identities exist, taking 1" in caplog.text


@pytest.mark.parametrize(
    ("features", "k", "skip", "text"),
    [
        (torch.zeros(1, 3), 1, 0, "two identities"),
        (torch.zeros(3, 3), 0, 0, "num_neighbours must be >= 1"),
        (torch.zeros(3, 3), 1, 2, "skip 2"),
        (torch.tensor([[0.0], [float("nan")]]), 1, 0, "must be finite"),
    ],
)
def test_impossible_graphs_are_refused(features, k, skip, text):
    with pytest.raises(ValueError, match=text):
        nearest_identities(features, k, skip)


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
}


@pytest.mark.parametrize("way", WALKS)
@settings(max_examples=150)
@given(graph=graphs(), seed=st.integers(0, 5))
def test_every_walk_keeps_its_promises(way, graph, seed):
    """Full batches of distinct identities; each is drawn, none more often than it has chunks."""
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


def test_nearest_first_walk_by_hand():
    """0 -> 1 -> 2 -> 3 along a line; the walk fills batches in that order."""
    neighbours = [[1], [2, 0], [3, 1], [2]]
    rng = Random(0)
    rng.random = lambda: 0.0  # the start is the first identity
    walk = depth_first_walk(neighbours, [1, 1, 1, 1], 2, rng, shuffle_rows=False)
    assert walk.batches == [[0, 1], [2, 3]]
    assert (walk.restarts, walk.extra) == (0, 0)


def test_separate_clusters_smaller_than_a_batch_fill_an_epoch():
    """Thirty clusters of 25 with P = 32: a walk without restarts would give no batch at all."""
    neighbours = [[25 * (i // 25) + (i + step) % 25 for step in range(1, 11)] for i in range(750)]
    walk = depth_first_walk(neighbours, [4] * 750, 32, Random(1))
    assert len(walk.batches) >= 92
    assert len({label for batch in walk.batches for label in batch}) == 750
    assert walk.restarts >= 29
    assert mean_hits(walk.batches, neighbours) > 6


def test_greedy_walk_by_hand():
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


def test_hits_by_hand():
    assert mean_hits([[0, 1, 2], [3, 0, 4]], [[1, 2], [0], [5], [0], [0, 3]]) == pytest.approx(
        (2 + 1 + 0 + 1 + 0 + 2) / 6
    )
    assert mean_hits([], [[1]]) == 0


def test_starts_take_turns_between_domains():
    """No links at all: every visit is a start, and the three data sets alternate."""
    domains = [0] * 4 + [1] * 4 + [2] * 4
    for walk in (depth_first_walk, greedy_walk):
        found = walk([[]] * 12, [1] * 12, 3, Random(4), domains=domains)
        assert len(found.batches) == 4
        assert [sorted(domains[x] for x in batch) for batch in found.batches] == [[0, 1, 2]] * 4


def test_a_domain_that_is_used_up_loses_its_turn():
    walk = depth_first_walk([[]] * 8, [1] * 8, 2, Random(0), domains=[0] * 7 + [1])
    assert sorted(label for batch in walk.batches for label in batch) == list(range(8))


@settings(max_examples=100)
@given(st.integers(2, 40), st.integers(1, 6), st.integers(0, 99))
def test_mutual_neighbours_equal_the_slow_way(count, k, seed):
    points = torch.randn(count, 2, generator=torch.Generator().manual_seed(seed))
    neighbours = nearest_identities(points, min(k, count - 1))
    rows = neighbours.tolist()
    expected = [[j if i in rows[j] else -1 for j in row] for i, row in enumerate(rows)]
    assert mutual_neighbours(neighbours).tolist() == expected

"""The graph of look-alike identities, against slow references."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.samplers import nearest_identities, neighbours
from datasets.samplers.neighbours import (
    join_features,
    longest_stretch,
    mean_hits,
    mutual_neighbours,
    thirds,
)


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


def test_equal_rows_are_neighbours_but_a_row_is_never_its_own():
    features = torch.cat([torch.zeros(4, 3), torch.ones(4, 3)])
    found = nearest_identities(features, 3)
    for i, row in enumerate(found.tolist()):
        half = set(range(4)) if i < 4 else set(range(4, 8))
        assert set(row) == half - {i}


def test_too_few_identities_give_fewer_columns_and_a_warning(caplog):
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


@settings(max_examples=100)
@given(st.integers(2, 40), st.integers(1, 6), st.integers(0, 99))
def test_mutual_neighbours_equal_a_slow_search(count, k, seed):
    points = torch.randn(count, 2, generator=torch.Generator().manual_seed(seed))
    neighbours = nearest_identities(points, min(k, count - 1))
    rows = neighbours.tolist()
    expected = [[j if i in rows[j] else -1 for j in row] for i, row in enumerate(rows)]
    assert mutual_neighbours(neighbours).tolist() == expected


def test_hits_match_a_hand_worked_case():
    assert mean_hits([[0, 1, 2], [3, 0, 4]], [[1, 2], [0], [5], [0], [0, 3]]) == pytest.approx(
        (2 + 1 + 0 + 1 + 0 + 2) / 6
    )
    assert mean_hits([], [[1]]) == 0


def test_joined_features_add_the_relative_distances():
    """Whatever the scales of the kinds, and wherever they are."""
    generator = torch.Generator().manual_seed(0)
    texts = torch.randn(23, 5, generator=generator).double() + 7
    images = 1000 * torch.randn(23, 3, generator=generator).double()
    joined = join_features([texts, images])
    squares = [torch.cdist(part, part).square() for part in (texts, images, joined.double())]
    expected = squares[0] / squares[0].mean() + squares[1] / squares[1].mean()
    torch.testing.assert_close(squares[2] / squares[2].mean(), expected / 2, rtol=1e-4, atol=1e-5)
    assert join_features([texts]) is texts
    with pytest.raises(ValueError, match="features of identities must be finite"):
        join_features([texts, images.log()])


def test_thirds_and_stretches_by_hand():
    assert thirds(list("abcdefg")) == (["a", "b"], ["c", "d", "e"], ["f", "g"])
    assert longest_stretch([]) == 0
    assert longest_stretch([{0}, {0}, {1}, {0, 1}, {1}, {1}, {1}, {0}]) == 3
    assert longest_stretch([{0, 1}, {0, 1}]) == 0

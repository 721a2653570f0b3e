"""The nearest rows equal those of a full sort, with any blocks, ties and copies."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from processor.metrics.working_memory import WorkingMemory
from processor.search import exact as search_module
from processor.search.exact import search


def full_sort(query, gallery, k):
    """Rows and distances in float64; of equal distances the lower row comes first."""
    query, gallery = (np.asarray(x, dtype=np.float64) for x in (query, gallery))
    distances = np.sqrt(np.square(query[:, None] - gallery[None]).sum(axis=2))
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(distances, order, axis=1)


def assert_as_a_full_sort(query, gallery, k):
    found = search(query, gallery, k)
    order, distances = full_sort(query, gallery, k)
    assert found.indices.tolist() == order.tolist()
    np.testing.assert_allclose(found.distances.numpy(), distances, rtol=1e-12, atol=1e-12)


def test_neighbours_match_a_hand_worked_case():
    gallery = np.array([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0], [3.0, 4.0]], dtype=np.float32)
    found = search(np.array([[0.0, 0.0], [3.0, 4.0]], dtype=np.float32), gallery, 3)
    assert found.indices.tolist() == [[0, 2, 1], [1, 3, 2]]
    assert found.distances.tolist() == [[0, 1, 5], [0, 0, pytest.approx(18**0.5)]]


@pytest.fixture
def small_parts(monkeypatch):
    """Galleries are searched 50 rows at a time, with 4 candidates beyond k."""
    monkeypatch.setattr(search_module, "GALLERY_ROWS", 50)
    monkeypatch.setattr(search_module, "SPARE", 4)


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("dim", [1, 3, 130])
@pytest.mark.parametrize("k", [1, 7, 60, 400])
def test_neighbours_do_not_depend_on_parts_and_blocks(dim, k):
    generator = torch.Generator().manual_seed(dim)
    gallery = torch.randn(333, dim, generator=generator)
    query = torch.randn(21, dim, generator=generator)
    gallery[::5] = gallery[7]  # more copies than candidates
    query[:3] = gallery[7]
    query[3] = gallery[11]
    assert_as_a_full_sort(query, gallery, k)


@given(
    st.lists(st.lists(st.integers(-2, 2), min_size=2, max_size=2), min_size=1, max_size=120),
    st.integers(1, 130),
)
def test_ties_come_in_row_order(rows, k):
    """Integer features have many equal distances."""
    gallery = np.array(rows, dtype=np.float32)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(search_module, "GALLERY_ROWS", 25)
        monkeypatch.setattr(search_module, "SPARE", 2)
        assert_as_a_full_sort(gallery[:4], gallery, k)


@pytest.mark.usefixtures("small_parts")
def test_neighbours_do_not_depend_on_the_working_memory():
    generator = torch.Generator().manual_seed(0)
    gallery, query = (torch.randn(n, 8, generator=generator) for n in (170, 30))
    whole, tiny = search(query, gallery, 9), search(query, gallery, 9, WorkingMemory(1e-5))
    assert torch.equal(whole.indices, tiny.indices)
    assert torch.equal(whole.distances, tiny.distances)


def test_distances_lost_in_float32_products_are_told_apart():
    """Squares of 1e8 in float32 are 8 apart; the distances here are 3, 2 and 1."""
    gallery = torch.tensor([[1e4, 3.0], [1e4, 2.0], [1e4, 1.0], [-1e4, 0.0]])
    assert search(torch.tensor([[1e4, 0.0]]), gallery, 3).indices.tolist() == [[2, 1, 0]]


def test_memory_mapped_features_are_searched(tmp_path):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "gallery.npy", rng.standard_normal((200, 16), dtype=np.float32))
    gallery = np.load(tmp_path / "gallery.npy", mmap_mode="c")
    assert_as_a_full_sort(np.array(gallery[:5]), gallery, 4)


@pytest.mark.parametrize(
    ("query", "gallery", "k", "named"),
    [
        (torch.ones(2, 3), torch.ones(4, 3), 0, "k: expected at least 1, got 0"),
        (torch.ones(2, 3), torch.ones(4, 2), 1, "query_features has 3 columns, gallery_feat.* 2"),
        (torch.ones(2, 3), torch.ones(0, 3), 1, "gallery_features: empty"),
        (torch.ones(2, 3), torch.ones(4, 3) / 0, 1, "gallery_features: NaN or infinite.* row 0"),
        (torch.full((1, 1), 1e20), torch.full((2, 1), -1e20), 1, "distances: NaN or infinite"),
    ],
)
def test_bad_arguments_are_named(query, gallery, k, named):
    with pytest.raises(ValueError, match=named):
        search(query, gallery, k)

"""The GPU's operations for k-reciprocal neighbours give the CPU's numbers; tested on the CPU."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import sparse

from processor import clustering
from processor.clustering import jaccard_distance
from processor.metrics import k_reciprocal, k_reciprocal_device, reranking
from processor.metrics.jaccard_device import jaccard_on_device
from processor.metrics.k_reciprocal import Reranking, find_neighbourhood
from processor.metrics.reranking import rerank
from processor.metrics.reranking_device import rerank_on_device
from processor.metrics.sparse_rows import SparseRows, bounded_slices
from processor.metrics.working_memory import WorkingMemory

SMALL = WorkingMemory(0.02)  # many blocks
LARGE = WorkingMemory(256)


def clustered(num_images, dim=12, noise=0.6, seed=0):
    """Unit rows around a few centres; the last row is a copy of the first."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((max(1, num_images // 9), dim))
    features = centres[rng.integers(0, len(centres), num_images)]
    features = features + noise * rng.standard_normal((num_images, dim))
    features[-1] = features[0]
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    return torch.from_numpy(features.astype(np.float32))


def dense(rows):
    """A sparse matrix of either kind as an array."""
    if not isinstance(rows, SparseRows):
        return rows.toarray()
    parts = (rows.values.numpy(), rows.columns.numpy(), rows.starts.numpy())
    return sparse.csr_array(parts, shape=(rows.num_rows, rows.num_columns)).toarray()


@pytest.mark.parametrize("memory", [SMALL, LARGE])
@pytest.mark.parametrize(("k1", "k2"), [(20, 6), (50, 15), (5, 3), (1, 1), (7, 500), (500, 4)])
def test_neighbours_and_weights_are_those_of_the_cpu(memory, k1, k2):
    features = clustered(120)
    around = find_neighbourhood(features, max(k1 + 1, k2), LARGE)
    nearest = torch.from_numpy(around.nearest).long()
    expected = k_reciprocal.expanded_neighbours(around.nearest, k1)
    found = k_reciprocal_device.expanded_neighbours(nearest, k1, memory)
    np.testing.assert_array_equal(dense(found) > 0, dense(expected) > 0)
    assert all((x.columns.diff() > 0).all() for x in (found.rows(slice(i, i + 1)) for i in (0, 9)))
    scales = around.row_maxima
    expected = k_reciprocal.neighbour_weights(expected, features.numpy(), scales)
    found = k_reciprocal_device.neighbour_weights(found, features, torch.from_numpy(scales), memory)
    np.testing.assert_allclose(dense(found), dense(expected), atol=1e-6)
    expected = k_reciprocal.average_over_nearest(expected, around.nearest[:, :k2])
    found = k_reciprocal_device.average_over_nearest(found, nearest[:, :k2], memory)
    np.testing.assert_allclose(dense(found), dense(expected), atol=1e-6)


@given(
    seed=st.integers(0, 2**32 - 1),
    num_query=st.integers(1, 15),
    num_gallery=st.integers(1, 40),
    noise=st.sampled_from([0.2, 0.6, 2.0]),
    k1=st.integers(1, 60),
    k2=st.integers(1, 20),
    lambda_value=st.sampled_from([0.0, 0.3, 1.0]),
    memory=st.sampled_from([SMALL, LARGE]),
)
def test_reranked_distances_are_those_of_the_cpu(
    seed, num_query, num_gallery, noise, k1, k2, lambda_value, memory
):
    features = clustered(num_query + num_gallery, noise=noise, seed=seed)
    assume(bool((torch.cdist(features, features).amax(1) > 0.01).all()))  # else all is rounding
    expected = rerank(features[:num_query], features[num_query:], k1, k2, lambda_value)
    source = rerank_on_device(features, num_query, Reranking(k1, k2, lambda_value), memory)
    slices = [slice(0, num_query // 2), slice(num_query // 2, num_query)]
    blocks = source(iter(rows for rows in slices if rows.stop > rows.start))
    found = torch.cat([block.values.clone() for block in blocks])  # the next block overwrites it
    np.testing.assert_allclose(found.numpy(), expected.numpy(), atol=1e-5)


@pytest.mark.parametrize("memory", [SMALL, LARGE])
@pytest.mark.parametrize(("k1", "k2"), [(30, 6), (20, 1), (3, 2), (500, 20)])
@pytest.mark.parametrize("max_distance", [1.0, 0.6])
def test_jaccard_distances_are_those_of_the_cpu(memory, k1, k2, max_distance):
    features = clustered(150)
    expected = jaccard_distance(features, k1, k2, max_distance=max_distance)
    nearest = torch.from_numpy(clustering._find_nearest(features, k1, LARGE)).long()
    found = jaccard_on_device(features, nearest, k2, max_distance, memory)
    assert found.dtype == np.float32
    absent = 2.0
    tables = []
    for matrix in (expected, found):
        table = np.full(matrix.shape, absent)
        entries = sparse.coo_array(matrix)
        table[entries.row, entries.col] = entries.data
        tables.append(table)
        assert all(np.diff(matrix.indices[a:b]).min(initial=1) > 0 for a, b in rows_of(matrix))
    np.testing.assert_array_equal(tables[0] == absent, tables[1] == absent)
    np.testing.assert_allclose(tables[1], tables[0], atol=1e-5)
    np.testing.assert_array_equal(found.diagonal(), 0)
    np.testing.assert_array_equal(tables[1], tables[1].T)


def rows_of(matrix):
    return zip(matrix.indptr[:-1], matrix.indptr[1:], strict=True)


class OfAGpu(torch.Tensor):
    """A tensor of the CPU that says it is on a GPU."""

    @property
    def device(self):
        return torch.device("cuda", 0)


def test_features_of_a_gpu_take_these_operations(monkeypatch):
    features = clustered(60)
    taken = []

    def take(name):
        return lambda *arguments, **_: taken.append((name, len(arguments))) or "taken"

    monkeypatch.setattr(reranking, "rerank_on_device", take("rerank"))
    monkeypatch.setattr(clustering, "jaccard_on_device", take("jaccard"))
    monkeypatch.setattr(reranking, "_check_blocks", lambda *_: None)
    monkeypatch.setattr(reranking, "check_features", lambda a, b: (a, b))
    on_gpu = features.as_subclass(OfAGpu)
    constants, memory = Reranking(20, 6), WorkingMemory()
    monkeypatch.setattr(reranking, "_joined", lambda *_: on_gpu)
    assert reranking.rerank_blocks(features[:9], features[9:], constants, memory) == "taken"
    assert taken == [("rerank", 4)]


def test_slices_are_bounded_or_single():
    counts = torch.tensor([3, 1, 9, 0, 2, 2, 20])
    found = list(bounded_slices(counts, 4))
    assert found == [slice(0, 2), slice(2, 3), slice(3, 6), slice(6, 7)]
    assert list(bounded_slices(counts, 100)) == [slice(0, 7)]
    assert list(bounded_slices(counts[:0], 5)) == []


@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(1, 9))
def test_sparse_rows_are_a_matrix(seed, num_rows, num_columns):
    rng = np.random.default_rng(seed)
    matrix = rng.integers(0, 3, (num_rows, num_columns)) * rng.integers(0, 2, num_columns)
    places = np.flatnonzero(matrix)
    values = torch.from_numpy(matrix.ravel()[places].astype(np.float32))
    rows = SparseRows.from_keys(torch.from_numpy(places), values, num_rows, num_columns)
    np.testing.assert_array_equal(dense(rows), matrix)
    np.testing.assert_array_equal(dense(rows.transposed()), matrix.T)
    np.testing.assert_array_equal(rows.lengths, (matrix > 0).sum(axis=1))
    middle = slice(num_rows // 3, num_rows // 3 + 1)
    np.testing.assert_array_equal(dense(rows.rows(middle)), matrix[middle])
    chosen = torch.from_numpy(rng.integers(0, num_rows, 5))
    owners, entries = rows.entries_of(chosen)
    sums = torch.zeros(5).index_add_(0, owners, rows.values[entries])
    np.testing.assert_array_equal(sums, matrix[chosen].sum(axis=1))


def test_equal_images_have_finite_distances():
    features = torch.ones(7, 5) / 3
    slices = iter([slice(0, 3)])
    (block,) = rerank_on_device(features, 3, Reranking(), LARGE)(slices)
    for distances in (block.values, rerank(features[:3], features[3:])):
        assert distances.isfinite().all()

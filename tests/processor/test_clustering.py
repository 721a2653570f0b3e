"""Jaccard distances equal the original's, and clusters those of dense DBSCAN."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.cluster import DBSCAN

from processor.clustering import (
    ClusterStatistics,
    _find_nearest,
    cluster,
    describe_clusters,
    jaccard_distance,
    label_outliers,
)
from processor.metrics.working_memory import WorkingMemory


def dense(distance):
    """The matrix with absent entries = 1."""
    matrix = np.ones(distance.shape, dtype=distance.dtype)
    entries = distance.tocoo()
    matrix[entries.row, entries.col] = entries.data
    return matrix


def mutual(order, width):
    sets = [set(row[:width].tolist()) for row in order]
    return [{j for j in row if i in sets[j]} for i, row in enumerate(sets)]


def slow_reference(features, k1, k2):
    """The definition with dense (N, N) matrices in float64."""
    points = features.astype(np.float64)
    squared = 2 - 2 * points @ points.T
    np.fill_diagonal(squared, -1)
    order = np.argsort(squared, axis=1, kind="stable")[:, :k1]
    mutual_whole, mutual_half = mutual(order, k1), mutual(order, int(np.around(k1 / 2)) + 1)
    weights = np.zeros_like(squared)
    for i in range(len(points)):
        own = mutual_whole[i]
        joined = set(own)
        for candidate in own:
            others = mutual_half[candidate]
            if len(others & own) > 2 / 3 * len(others):
                joined |= others
        columns = sorted(joined)
        closeness = np.exp(-(2 - 2 * points[columns] @ points[i]))
        weights[i, columns] = closeness / closeness.sum()
    if k2 != 1:
        weights = np.stack([weights[row[:k2]].mean(axis=0) for row in order])
    overlap = np.empty_like(squared)
    transposed = weights.T.copy()
    for i, row in enumerate(weights):
        support = row > 0
        overlap[i] = np.minimum(transposed[support], row[support, None]).sum(axis=0)
    return np.maximum(1 - overlap / (2 - overlap), 0)


def clustered(num_images, dim=12, noise=0.6, seed=0):
    """Unit rows around a few centres."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((max(1, num_images // 9), dim))
    features = centres[rng.integers(0, len(centres), num_images)]
    features = features + noise * rng.standard_normal((num_images, dim))
    return (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize(("k1", "k2"), [(20, 6), (30, 6), (30, 1)])
def test_jaccard_distances_equal_the_originals(golden, k1, k2):
    arrays = golden("jaccard")
    found = jaccard_distance(torch.from_numpy(arrays["features"]), k1, k2)
    assert found.dtype == np.float32
    np.testing.assert_allclose(dense(found), arrays[f"jaccard_k1_{k1}_k2_{k2}"], rtol=0, atol=2e-5)


@pytest.mark.parametrize(("k1", "k2"), [(20, 6), (30, 6), (30, 1)])
@pytest.mark.parametrize("eps", [0.45, 0.6, 0.7])
def test_clusters_equal_the_originals(golden, k1, k2, eps):
    arrays = golden("jaccard")
    expected = arrays[f"dbscan_k1_{k1}_k2_{k2}_eps_{eps}"]
    whole = jaccard_distance(arrays["features"], k1, k2)
    near = jaccard_distance(arrays["features"], k1, k2, max_distance=eps)
    for distance in (whole, near):
        labels = cluster(distance, eps)
        assert labels.dtype == np.int64
        np.testing.assert_array_equal(labels, expected)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    num_images=st.integers(1, 50),
    noise=st.sampled_from([0.2, 0.6, 2.0]),
    k1=st.integers(1, 60),
    k2=st.integers(1, 20),
)
def test_jaccard_distances_agree_with_the_definition(seed, num_images, noise, k1, k2):
    features = clustered(num_images, noise=noise, seed=seed)
    found = dense(jaccard_distance(features, k1, k2))
    assert found == pytest.approx(slow_reference(features, k1, k2), abs=1e-5)


def test_clusters_of_2000_images_equal_the_dense_reference():
    features = clustered(2000, dim=32, noise=0.8)
    expected = slow_reference(features, 30, 6)
    distance = jaccard_distance(features)
    np.testing.assert_allclose(dense(distance), expected, rtol=0, atol=1e-5)
    for eps in (0.5, 0.6, 0.7):
        labels = cluster(distance, eps)
        model = DBSCAN(eps=eps, min_samples=4, metric="precomputed")
        np.testing.assert_array_equal(labels, model.fit_predict(expected))
        assert labels.max() > 20
        assert (labels == -1).any()


def test_jaccard_distances_are_symmetric_with_a_stored_diagonal():
    distance = jaccard_distance(clustered(120), 20, 6)
    assert (distance != distance.T).nnz == 0
    rows, columns = distance.nonzero()
    entries = distance.tocoo()
    assert set(zip(entries.row, entries.col, strict=True)) >= {(i, i) for i in range(120)}
    assert (distance.diagonal() == 0).all()
    assert distance.has_sorted_indices
    assert distance.data.max() < 1
    assert len(rows) == len(columns) < 120**2


def test_duplicates_are_at_distance_zero():
    features = np.repeat(clustered(10), 5, axis=0)
    found = dense(jaccard_distance(features, 5, 1))
    assert found[:5, :5] == pytest.approx(np.zeros((5, 5)), abs=1e-6)


def test_image_is_nearest_to_itself_among_its_duplicates():
    features = torch.from_numpy(np.repeat(clustered(4), 9, axis=0))
    assert _find_nearest(features, 3, WorkingMemory(256))[:, 0].tolist() == list(range(36))


def test_distances_do_not_depend_on_the_chunk_size():
    features = clustered(90)
    whole, parts = (jaccard_distance(features, 20, 6, chunk_mb=mb) for mb in (256, 1e-3))
    assert dense(whole) == pytest.approx(dense(parts), abs=1e-6)


def test_pairs_beyond_max_distance_are_not_stored():
    features = clustered(90)
    whole = dense(jaccard_distance(features, 20, 6))
    near = dense(jaccard_distance(features, 20, 6, max_distance=0.5))
    np.testing.assert_array_equal(near, np.where(whole <= 0.5, whole, 1))


def test_clusters_equal_those_of_a_dense_matrix():
    distance = jaccard_distance(clustered(300, noise=0.5), 20, 6)
    for eps in (0.4, 0.5, 0.6):
        model = DBSCAN(eps=eps, min_samples=4, metric="precomputed")
        np.testing.assert_array_equal(cluster(distance, eps), model.fit_predict(dense(distance)))


def block_distances(*sizes, within=0.3):
    """Groups of images at distance `within` of each other; nothing stored on the diagonal."""
    blocks = [np.full((n, n), within) - within * np.eye(n) for n in sizes]
    return sparse.csr_array(sparse.block_diag(blocks, format="csr"))


def test_absent_diagonal_counts_as_zero():
    labels = cluster(block_distances(4, 5, 3), eps=0.5)
    assert labels.tolist() == [0] * 4 + [1] * 5 + [-1] * 3


def test_error_without_a_cluster_names_the_options():
    with pytest.raises(ValueError, match=r"all 9 .* at DSGL\.EPS 0\.2; raise it, or lower"):
        cluster(block_distances(4, 5), eps=0.2)


def test_a_single_cluster_is_rejected():
    with pytest.raises(ValueError, match=r"one cluster of 9 images and 2 outliers.*lower DSGL.EPS"):
        cluster(block_distances(9, 2), eps=0.5)


@pytest.mark.parametrize("eps", [0.0, 1.0, -0.1])
def test_eps_out_of_range_is_rejected(eps):
    with pytest.raises(ValueError, match=r"DSGL\.EPS"):
        cluster(block_distances(4, 4), eps)


def test_min_samples_out_of_range_is_rejected():
    with pytest.raises(ValueError, match=r"DSGL\.MIN_SAMPLES"):
        cluster(block_distances(4, 4), 0.5, min_samples=0)


@pytest.mark.parametrize(
    ("features", "text"),
    [
        (np.zeros((0, 4), np.float32), "shape"),
        (np.zeros(4, np.float32), "shape"),
        (np.array([[1.0, 0.0], [np.nan, 1.0]], np.float32), "first in row 1"),
    ],
)
def test_bad_features_are_rejected(features, text):
    with pytest.raises(ValueError, match=text):
        jaccard_distance(features)


def test_bad_k1_and_k2_are_rejected():
    with pytest.raises(ValueError, match=r"DSGL\.K1"):
        jaccard_distance(clustered(9), k1=0)
    with pytest.raises(ValueError, match=r"DSGL\.K2"):
        jaccard_distance(clustered(9), k2=0)


def test_statistics_match_a_hand_worked_case():
    labels = np.array([0, 0, 1, 1, 1, 1, -1, -1, 0])
    statistics = describe_clusters(labels)
    assert statistics == ClusterStatistics(9, 2, 2, (3.0, 3.25, 3.5, 3.75, 4.0))
    same = describe_clusters(labels, [5, 5, 2, 2, 2, 2, 7, 8, 5])
    assert dataclasses.asdict(same)["ari"] == pytest.approx(1)
    assert same.nmi == pytest.approx(1)
    mixed = describe_clusters(labels, [5, 2, 2, 5, 2, 5, 7, 7, 5])
    assert mixed.ari < 0.2


def test_every_outlier_gets_its_own_label():
    assert label_outliers(np.array([0, -1, 1, -1])).tolist() == [0, 2, 1, 3]
    assert label_outliers(np.array([-1, -1])).tolist() == [0, 1]

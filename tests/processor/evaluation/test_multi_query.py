import numpy as np
import pytest
import torch

from processor.evaluation import evaluate_features
from processor.evaluation.multi_query import pool_queries
from processor.metrics.identities import Identities


def pool(features, pids, camids, *, normalize):
    """(features, pids, camids) of the pooled queries."""
    ids = Identities(np.asarray(pids), np.array([7]), np.asarray(camids), np.array([3]))
    pooled = pool_queries(features, ids, normalize=normalize)
    assert pooled.ids.gallery_pids.tolist() == [7]
    assert pooled.ids.gallery_camids.tolist() == [3]
    return pooled.features, pooled.ids.query_pids, pooled.ids.query_camids


def test_means_match_a_hand_worked_case():
    features = torch.tensor([[1.0, 0.0], [4.0, 2.0], [0.0, 1.0], [9.0, 9.0], [2.0, 4.0]])
    means, pids, camids = pool(features, [7, 3, 7, 7, 3], [1, 0, 1, 0, 0], normalize=False)
    assert pids.tolist() == [3, 7, 7]
    assert camids.tolist() == [0, 0, 1]
    assert means.tolist() == [[3.0, 3.0], [9.0, 9.0], [0.5, 0.5]]


def test_normalized_means_have_length_one():
    features = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    means, _, _ = pool(features, [1, 1, 2], [0, 0, 0], normalize=True)
    expected = torch.tensor([[0.5**0.5, 0.5**0.5], [0.6, 0.8]])
    torch.testing.assert_close(means, expected)


def test_opposite_directions_cancel_without_nan():
    features = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    means, _, _ = pool(features, [4, 4], [4, 4], normalize=True)
    assert means.tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize("normalize", [False, True])
def test_agrees_with_a_loop_over_groups(normalize):
    rng = np.random.default_rng(3)
    features = rng.standard_normal((60, 5)).astype(np.float32)
    if normalize:
        features /= np.linalg.norm(features, axis=1, keepdims=True)
    pids, camids = rng.integers(-1, 6, 60), rng.integers(0, 3, 60)
    groups = sorted(set(zip(pids.tolist(), camids.tolist(), strict=True)))
    means = np.stack([features[(pids == p) & (camids == c)].mean(axis=0) for p, c in groups])
    if normalize:
        means /= np.linalg.norm(means, axis=1, keepdims=True)
    found = pool(torch.from_numpy(features), pids, camids, normalize=normalize)
    assert list(zip(found[1].tolist(), found[2].tolist(), strict=True)) == groups
    assert found[0].numpy() == pytest.approx(means, abs=1e-6)


def test_single_queries_stay_bit_identical():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(20, 7, generator=generator)
    means, _, _ = pool(features, np.arange(20)[::-1], np.zeros(20, int), normalize=False)
    assert torch.equal(means, features.flip(0))


def test_pooled_queries_search_together():
    """Each image alone is nearer to the wrong gallery image, their mean nearer to the right one."""
    features = torch.tensor([[0.0, 4.0], [0.0, -4.0]])
    gallery = torch.tensor([[1.0, 0.0], [0.0, 5.0], [0.0, -5.0]])
    pids, camids = [1, 1], [0, 0]
    gallery_ids = [1, 2, 2], [1, 1, 1]
    alone = evaluate_features(features, gallery, pids, gallery_ids[0], camids, gallery_ids[1])
    assert (alone.rank(1), alone.num_queries) == (0, 2)
    means, pids, camids = pool(features, pids, camids, normalize=False)
    together = evaluate_features(means, gallery, pids, gallery_ids[0], camids, gallery_ids[1])
    assert (together.rank(1), together.num_queries) == (1, 1)


def test_errors_give_the_numbers_of_features_and_ids():
    ids = np.zeros(2, int)
    with pytest.raises(ValueError, match="got 0 features, 0 pids and 0 camids"):
        pool(torch.ones(0, 3), ids[:0], ids[:0], normalize=True)
    with pytest.raises(ValueError, match="got 3 features, 2 pids and 2 camids"):
        pool(torch.ones(3, 3), ids, ids, normalize=True)
    with pytest.raises(ValueError, match="got 2 features, 2 pids and 1 camids"):
        pool(torch.ones(2, 3), ids, ids[:1], normalize=True)

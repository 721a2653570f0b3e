import numpy as np
import pytest
import torch

from processor.evaluation import evaluate_features
from processor.evaluation.protocol import pool_queries


def test_means_by_hand():
    features = torch.tensor([[1.0, 0.0], [4.0, 2.0], [0.0, 1.0], [9.0, 9.0], [2.0, 4.0]])
    pids, camids = torch.tensor([7, 3, 7, 7, 3]), torch.tensor([1, 0, 1, 0, 0])
    pooled = pool_queries(features, pids, camids, normalize=False)
    assert pooled.pids.tolist() == [3, 7, 7]
    assert pooled.camids.tolist() == [0, 0, 1]
    assert pooled.features.tolist() == [[3.0, 3.0], [9.0, 9.0], [0.5, 0.5]]


def test_means_of_directions_are_directions():
    features = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    pids, camids = torch.tensor([1, 1, 2]), torch.tensor([0, 0, 0])
    pooled = pool_queries(features, pids, camids, normalize=True)
    expected = torch.tensor([[0.5**0.5, 0.5**0.5], [0.6, 0.8]])
    torch.testing.assert_close(pooled.features, expected)


def test_opposite_directions_cancel_without_nan():
    features = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    same = torch.tensor([4, 4])
    assert pool_queries(features, same, same, normalize=True).features.tolist() == [[0.0, 0.0]]


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
    pooled = pool_queries(*map(torch.from_numpy, (features, pids, camids)), normalize=normalize)
    pairs = zip(pooled.pids.tolist(), pooled.camids.tolist(), strict=True)
    assert list(pairs) == groups
    assert pooled.features.numpy() == pytest.approx(means, abs=1e-6)


def test_single_queries_stay_bit_for_bit():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(20, 7, generator=generator)
    pids = torch.arange(20).flip(0)
    pooled = pool_queries(features, pids, torch.zeros(20, dtype=torch.long), normalize=False)
    assert torch.equal(pooled.features, features.flip(0))


def test_pooled_queries_search_together():
    """Each image alone is nearer to the wrong gallery image, their mean to the right one."""
    features = torch.tensor([[0.0, 4.0], [0.0, -4.0]])
    gallery = torch.tensor([[1.0, 0.0], [0.0, 5.0], [0.0, -5.0]])
    pids, camids = torch.tensor([1, 1]), torch.tensor([0, 0])
    gallery_ids = [1, 2, 2], [1, 1, 1]
    alone = evaluate_features(features, gallery, pids, gallery_ids[0], camids, gallery_ids[1])
    assert (alone.rank(1), alone.num_queries) == (0, 2)
    pooled = pool_queries(features, pids, camids, normalize=False)
    together = evaluate_features(
        pooled.features, gallery, pooled.pids, gallery_ids[0], pooled.camids, gallery_ids[1]
    )
    assert (together.rank(1), together.num_queries) == (1, 1)


def test_missing_queries_and_uneven_arrays_are_named():
    ids = torch.zeros(2, dtype=torch.long)
    with pytest.raises(ValueError, match="got 0 features, 0 pids and 0 camids"):
        pool_queries(torch.ones(0, 3), ids[:0], ids[:0], normalize=True)
    with pytest.raises(ValueError, match="got 3 features, 2 pids and 2 camids"):
        pool_queries(torch.ones(3, 3), ids, ids, normalize=True)
    with pytest.raises(ValueError, match="got 2 features, 2 pids and 1 camids"):
        pool_queries(torch.ones(2, 3), ids, ids[:1], normalize=True)

"""Batches of three samplers: contents and statistics."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from config import load_cfg
from datasets.records import DataSplits, Sample
from datasets.samplers.build import build_train_sampler
from datasets.samplers.neighbours import nearest_identities
from datasets.sources import join_sources
from processor.tools.batches import nearest_in_batch, sample_batches

NUM_IDENTITIES, PER_IDENTITY = 60, 4
OPTS = [
    *("DATALOADER.SAMPLER", "softmax_triplet", "DATALOADER.NUM_INSTANCE", "2"),
    *("SOLVER.STAGE2.IMS_PER_BATCH", "12", "DATALOADER.DFGS.NUM_NEIGHBOURS", "4"),
]


@pytest.fixture(scope="module")
def ring():
    """Identities on a circle, look-alikes side by side, and their images."""
    angles = torch.arange(NUM_IDENTITIES) * 2 * math.pi / NUM_IDENTITIES
    features = torch.stack([angles.cos(), angles.sin()], dim=1)
    places = range(NUM_IDENTITIES * PER_IDENTITY)
    samples = [Sample(str(i), i // PER_IDENTITY, i % PER_IDENTITY) for i in places]
    return features, join_sources([DataSplits("ring", samples, [], [])])


def sampled(ring, *opts, epoch=1):
    features, data = ring
    cfg = load_cfg(None, [*OPTS, *opts])
    nearest = nearest_identities(features, cfg.DATALOADER.DFGS.NUM_NEIGHBOURS).tolist()
    batches = sample_batches(cfg, data, features, nearest, epoch)
    return {batch.sampler: batch for batch in batches}


@given(st.lists(st.integers(0, 11), min_size=2, max_size=8, unique=True))
def test_nearest_in_batch_against_a_loop(labels):
    features = torch.randn(12, 5, generator=torch.Generator().manual_seed(0))
    expected = [
        min(math.dist(features[a].tolist(), features[b].tolist()) for b in labels if b != a)
        for a in labels
    ]
    assert nearest_in_batch(features, labels).tolist() == pytest.approx(expected)


def test_a_batch_holds_whole_identities(ring):
    for batch in sampled(ring).values():
        assert len(batch.images) == 12
        assert len(set(batch.labels)) == 6
        assert [i // PER_IDENTITY for i in batch.images] == [
            x for x in batch.labels for _ in (0, 1)
        ]
        assert batch.distances == nearest_in_batch(ring[0], batch.labels).tolist()


def test_look_alikes_are_nearer_than_by_chance(ring):
    by_chance, walk, graph = (sampled(ring)[name] for name in ("random P x K", "DFGS", "GS"))
    assert walk.hits > 3 * by_chance.hits
    assert graph.hits > 3 * by_chance.hits
    assert walk.mean_distance < by_chance.mean_distance / 2
    step = 2 * math.sin(math.pi / NUM_IDENTITIES)  # GS has an identity and its neighbours
    assert graph.mean_distance == pytest.approx(step, rel=1e-5)


def test_batches_are_those_of_training(ring):
    """The sampler's own batches and statistics of the same epoch."""
    features = torch.randn(NUM_IDENTITIES, 3, generator=torch.Generator().manual_seed(0))
    data = ring[1]
    cloud = (features, data)  # without equal distances, whose order would be arbitrary
    for epoch in (1, 2):
        plan = build_train_sampler(load_cfg(None, [*OPTS, "DATALOADER.SAMPLER", "dfgs_text"]), data)
        nearest = torch.cdist(features, features).fill_diagonal_(9).topk(4, largest=False).indices
        plan.set_graph(nearest)
        plan.set_epoch(epoch)
        found = sampled(cloud, epoch=epoch)["DFGS"]
        assert found.hits == pytest.approx(plan.stats["hits"])
        assert found.images == next(iter(plan))
    assert sampled(ring, epoch=1)["DFGS"].images != sampled(ring, epoch=2)["DFGS"].images
    assert sampled(ring)["DFGS"] == sampled(ring)["DFGS"]


def test_walk_options_apply_and_mutual_links_leave_gs_unchanged(ring):
    plain, mutual = sampled(ring), sampled(ring, "DATALOADER.DFGS.MUTUAL", "True")
    assert mutual["GS"] == plain["GS"]
    greedy = sampled(ring, "DATALOADER.DFGS.WALK", "greedy")
    assert greedy["DFGS"].hits != plain["DFGS"].hits


def test_too_few_identities_are_an_error(ring):
    with pytest.raises(ValueError, match="needs 64 identities"):
        sampled(ring, "SOLVER.STAGE2.IMS_PER_BATCH", "128")

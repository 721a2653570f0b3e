"""From DSGL to the clusters, the memory and the steps of its stage."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from datasets.samplers.build import build_train_sampler
from loss import ClusterMemory, irrelevant_labels
from processor.clustering import cluster, jaccard_distance
from processor.features import mean_by_label
from processor.training import build
from processor.training.build import build_dsgl_stage
from processor.training.epoch import EpochMeters, train_epoch
from processor.training.pseudo_labels import ClusterOptions
from processor.training.stage import StageTiming

OPTIONS = {
    "DSGL.ENABLED": True,
    "DSGL.POOLING": "avg",
    "DSGL.EPS": 0.45,
    "DSGL.MIN_SAMPLES": 2,
    "DSGL.K1": 6,
    "DSGL.K2": 2,
    "DSGL.ORDERS": 1,
    "DSGL.ITERS": 2,
    "DSGL.STEP_SIZE": 3,
    "DSGL.TEMPERATURE": 0.2,
    "DSGL.MOMENTUM": 0.4,
    "TEST.CHUNK_MB": 7,
    "TEST.IMS_PER_BATCH": 13,
    "SOLVER.STAGE2.MAX_EPOCHS": 9,
    "SOLVER.STAGE2.LOG_PERIOD": 3,
    "SOLVER.STAGE2.CHECKPOINT_PERIOD": 4,
    "SOLVER.STAGE2.EVAL_PERIOD": 5,
    "SOLVER.STAGE2.BASE_LR": 0.01,
}
NEVER = SimpleNamespace(requested=False, agree=lambda: False)


@pytest.fixture
def stage_of(configure, architectures, model_of, images_of, data, float32):
    """`stage_of({"KEY": value})` -> the stage of a tiny ResNet left in training mode."""

    def make(*options):
        name = {"MODEL.NAME": architectures["resnet"]}
        cfg = configure(name, OPTIONS, *options)
        sampler = build_train_sampler(cfg, data)
        images = images_of(cfg)
        return build_dsgl_stage(cfg, model_of(cfg).train(), images, sampler, float32, None)

    return make


@torch.no_grad()
def features_slowly(stage, images):
    """Unit features of every image, one at a time, in evaluation mode."""
    was_training = stage.model.training
    stage.model.eval()
    batches = [batch for i in range(len(images.data.samples)) for batch in images.plain([i])]
    features = torch.cat([stage.model.embed(batch.images) for batch in batches])
    stage.model.train(was_training)
    return features


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"DSGL.EPS": 0.3},
        {"DSGL.MIN_SAMPLES": 4},
        {"DSGL.K1": 10},
        {"DSGL.K2": 5},
        {"DSGL.ORDERS": 2},
    ],
)
def test_clusters_are_those_of_the_eval_mode_features(
    stage_of, images_of, configure, architectures, options
):
    stage = stage_of(options)
    images = images_of(configure({"MODEL.NAME": architectures["resnet"]}, OPTIONS))
    features = features_slowly(stage, images)
    stage.start_epoch(1, 0)
    constants = {**OPTIONS, **options}
    k1, k2, eps, least, orders = (
        constants[f"DSGL.{key}"] for key in ("K1", "K2", "EPS", "MIN_SAMPLES", "ORDERS")
    )
    distances = jaccard_distance(features, k1, k2)
    labels = torch.from_numpy(cluster(distances, eps, least))
    assert torch.equal(stage.clusters.labels, labels)
    assert labels.max() > orders
    kept = labels >= 0
    centroids = mean_by_label(features[kept], labels[kept], int(labels.max()) + 1)
    memory = ClusterMemory(centroids, 0.2, 0.4)
    torch.testing.assert_close(stage.clusters.memory.prototypes, memory.prototypes)
    expected = irrelevant_labels(features, memory.mean, labels, orders)
    assert torch.equal(stage.clusters.irrelevant, expected)
    torch.testing.assert_close(stage.clusters.bank.features, features, atol=1e-5, rtol=1e-4)


def test_constants_of_the_clustering_matter(stage_of):
    """Each of them alone changes the clusters, so that none can be ignored unseen."""
    seen = []
    for more in ({}, {"DSGL.EPS": 0.3}, {"DSGL.MIN_SAMPLES": 4}, {"DSGL.K1": 10}, {"DSGL.K2": 5}):
        stage = stage_of(more)
        stage.start_epoch(1, 0)
        seen.append(tuple(stage.clusters.labels.tolist()))
    assert len(set(seen)) == len(seen)


def test_every_constant_of_the_clustering(stage_of, monkeypatch):
    given = []

    def find(table, options):
        given.append(options)
        return np.arange(len(table.indices)) % 4

    monkeypatch.setattr(build, "find_clusters", find)
    stage_of().start_epoch(1, 0)
    assert given == [ClusterOptions(0.45, 2, 6, 2, 1, 7)]


@pytest.mark.parametrize(("period", "epochs"), [(1, [1, 2, 3, 4, 5]), (2, [1, 3, 5]), (3, [1, 4])])
def test_epochs_with_new_clusters(stage_of, monkeypatch, period, epochs):
    clustered = []

    def find(table, _options):
        clustered.append(epoch)
        return np.arange(len(table.indices)) % 4

    monkeypatch.setattr(build, "find_clusters", find)
    stage = stage_of({"DSGL.RECLUSTER_EVERY": period})
    for epoch in range(1, 6):
        stage.start_epoch(epoch, 0)
        assert stage.model.training
    assert clustered == epochs


def test_timing_optimizer_and_losses(stage_of):
    stage = stage_of({"DSGL.W_DIS": 0.4, "DSGL.W_KL": 0.3})
    assert stage.optimization.timing == StageTiming(9, 3, 4, 5)
    assert stage.optimization.schedule.milestones == [4, 7]
    assert stage.optimization.optimizers[0].param_groups[0]["lr"] == 0.01
    assert (stage.losses.disentangled_weight, stage.losses.entropy_weight) == (0.4, 0.3)
    assert stage.losses.temperature == 0.2


# ------------------------------------------------------------------------------------------- steps


@pytest.fixture
def started(stage_of, monkeypatch):
    """A stage with four clusters of fourteen images, and its first batch."""

    def find(table, _options):
        return np.arange(len(table.indices)) % 4

    monkeypatch.setattr(build, "find_clusters", find)
    stage = stage_of()
    return stage, next(iter(stage.start_epoch(1, 0)))


def test_losses_of_a_step_are_those_of_both_halves(started):
    """Anchors first, then their partners; each half has its own statistics in the batch norms."""
    stage, batch = started
    assert len(batch) == 16
    labels = stage.clusters.labels[batch.indices]
    assert torch.equal(labels[:8], labels[8:])
    found = stage.compute_losses(batch)
    features, partners = stage.model(batch.images[:8]), stage.model(batch.images[8:])
    clusters = stage.clusters
    seen = clusters.batch(batch.indices[:8])
    expected = stage.losses(features, partners, seen, clusters.memory, clusters.bank)
    assert set(found.losses) == {"memory", "disentangled", "relative_entropy"}
    for name, value in expected.items():
        torch.testing.assert_close(found.losses[name], value)
    assert found.num_images == 8
    near = [
        max(range(4), key=[float(x) for x in clusters.memory.hard @ row].__getitem__)
        for row in features.detach()
    ]
    right = sum(cluster == label for cluster, label in zip(near, seen.labels.tolist(), strict=True))
    assert set(found.averages) == {"accuracy"}
    assert float(found.averages["accuracy"]) == right / 8


def test_statistics_are_of_clusters_and_batches(started):
    stage, _ = started
    stage.clustering.poor = 3
    found = stage.epoch_statistics()
    assert (found["clusters"], found["poor_clusterings"]) == (4, 3)
    assert found["batches"] == len(stage.sampler)
    assert found["plan_seconds"] == stage.sampler.plan_seconds > 0


class Waiting(TorchDispatchMode):
    """Lists the operations whose result a program can only use by waiting for a GPU."""

    NAMES = (
        *("nonzero", "_local_scalar_dense", "equal", "item", "bincount", "masked_select"),
        *("_unique2", "unique_dim", "unique_consecutive", "isin", "repeat_interleave"),
    )

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        chosen = args[1] if name in ("index", "index_put", "index_put_") else ()
        by_mask = any(x is not None and x.dtype == torch.bool for x in chosen)
        if by_mask or name in self.NAMES:
            self.found.append(name)
        return function(*args, **(kwargs or {}))


def test_operations_that_wait_are_seen():
    rows = torch.arange(4.0)
    with Waiting() as waiting:
        rows[rows > 1].sum().item()
        torch.bincount(rows.long())
    assert waiting.found[::2] == ["index", "bincount"]


@pytest.mark.parametrize("options", [{}, {"DSGL.MEMORY": "DLhybrid_v2", "DSGL.W_KL": 0.0}])
@pytest.mark.usefixtures("started")
def test_step_of_the_losses_does_not_wait_for_a_gpu(options, stage_of):
    stage = stage_of(options)
    batch = next(iter(stage.start_epoch(1, 0)))
    losses, clusters = stage.losses, stage.clusters
    features, positives = stage.model(batch.images[:8]), stage.model(batch.images[8:])
    with Waiting() as waiting:
        seen = clusters.batch(batch.indices[:8])
        parts = losses(features, positives, seen, clusters.memory, clusters.bank)
        sum(parts.values()).backward()
        losses.update(features, seen, clusters.memory, clusters.bank)
    assert len(parts) == (1 if options else 3)
    assert waiting.found == []


@pytest.mark.parametrize("happened", [True, False])
def test_memory_and_bank_follow_a_step_that_took_place(started, happened):
    stage, batch = started
    clusters = stage.clusters
    memory, bank = clusters.memory.prototypes.clone(), clusters.bank.features.clone()
    stage.compute_losses(batch)
    assert torch.equal(clusters.memory.prototypes, memory)
    assert torch.equal(clusters.bank.features, bank)
    features = stage.model(batch.images[:8]).detach()
    stage.after_step(lambda: happened)
    if not happened:
        assert torch.equal(clusters.memory.prototypes, memory)
        assert torch.equal(clusters.bank.features, bank)
        stage.after_step(lambda: True)  # the skipped batch is not made up for
        assert torch.equal(clusters.memory.prototypes, memory)
        return
    expected = ClusterMemory(memory[0], 0.2, 0.4)
    expected.update(features, clusters.labels[batch.indices[:8]])
    torch.testing.assert_close(clusters.memory.prototypes, expected.prototypes)
    for place, index in enumerate(batch.indices[:8].tolist()):
        bank[index] = features[place]
    torch.testing.assert_close(clusters.bank.features, bank)


@pytest.mark.parametrize("happens", [True, False])
def test_loop_tells_the_stage_whether_the_step_happened(started, float32, monkeypatch, happens):
    stage, _ = started
    memory = stage.clusters.memory.prototypes.clone()
    monkeypatch.setattr(float32, "step_happened", lambda: happens)
    stage.clustering.period = 100
    train_epoch(stage, 2, EpochMeters(), float32, NEVER)
    assert torch.equal(stage.clusters.memory.prototypes, memory) != happens


def test_partners_are_augmented_by_seeds_of_their_own(started):
    stage, batch = started
    keys = next(iter(stage.batches))
    assert [key.position for key in keys] == batch.indices.tolist()
    seeds = [key.seed for key in keys]
    assert len(set(seeds)) == 16


def test_one_image_twice_in_a_batch_is_augmented_twice(stage_of, monkeypatch):
    """Two images form two clusters: every partner is its anchor's image itself."""

    def find(table, _options):
        return np.where(np.arange(len(table.indices)) < 2, np.arange(len(table.indices)), -1)

    monkeypatch.setattr(build, "find_clusters", find)
    stage = stage_of({"INPUT.PADDING": 8})
    batch = next(iter(stage.start_epoch(1, 0)))
    assert torch.equal(batch.indices[:8], batch.indices[8:])
    assert not any(torch.equal(batch.images[i], batch.images[8 + i]) for i in range(8))


def test_distances_of_the_clustering_are_sparse(stage_of, images_of, configure, architectures):
    """Distances above DSGL.EPS are not stored, which does not change the clusters."""
    images = images_of(configure({"MODEL.NAME": architectures["resnet"]}, OPTIONS))
    features = features_slowly(stage_of(), images)
    near, full = (jaccard_distance(features, 6, 2, max_distance=x) for x in (0.45, 1))
    assert near.nnz < full.nnz
    assert np.array_equal(
        cluster(near, 0.45, 2), cluster(jaccard_distance(features, 6, 2), 0.45, 2)
    )

"""From DATALOADER, DSGL and SOLVER to the batches of an epoch."""

from collections import Counter, deque

import pytest
import torch

from config import ConfigError
from datasets.records import Sample
from datasets.samplers import (
    ClusterSampler,
    DepthFirstGraphSampler,
    GraphSampler,
    RandomIdentitySampler,
    ShuffledSampler,
    WalkOptions,
    dfgs,
)
from datasets.samplers.build import build_random_sampler, build_train_sampler, needs_partners
from datasets.samplers.options import PassOptions
from datasets.samplers.walks import SCARCITY
from datasets.sources import TrainingSet

SHAPE = {
    "DATALOADER.NUM_INSTANCE": 3,
    "SOLVER.STAGE2.IMS_PER_BATCH": 12,
    "SOLVER.SEED": 77,
}


def training_set(num_identities, per_identity, num_domains=1, num_cameras=2):
    """Images in the order of their identities; the domains are halves, thirds, ... of these."""
    labels = [i // per_identity for i in range(num_identities * per_identity)]
    samples = [Sample(f"{i}.jpg", label, i % num_cameras) for i, label in enumerate(labels)]
    domains = [label * num_domains // num_identities for label in labels]
    names = tuple(f"source{i}" for i in range(num_domains))
    return TrainingSet(
        samples, labels, domains, num_identities, num_cameras, 1, names, (0,) * num_domains
    )


def plan_of(sampler, epoch=1):
    sampler.set_epoch(epoch)
    return [list(batch) for batch in sampler]


def assert_same_plans(found, expected):
    assert type(found) is type(expected)
    plans = [plan_of(found, epoch) for epoch in (1, 2, 3)]
    assert plans == [plan_of(expected, epoch) for epoch in (1, 2, 3)]
    assert plans[0] != plans[1]


def identities_of(sampler, data, epoch=1):
    """The labels of every batch, each once."""
    step = sampler.num_instances
    return [[data.labels[i] for i in batch[::step]] for batch in plan_of(sampler, epoch)]


def graph(num_identities, columns=4):
    """A random graph, nearest first."""
    noise = torch.rand(num_identities, num_identities, generator=torch.Generator().manual_seed(5))
    return noise.fill_diagonal_(2).argsort(1)[:, :columns]


# ------------------------------------------------------------------------------------ from labels


def test_p_x_k_batches_of_random_identities(configure):
    data = training_set(8, 7)
    found = build_train_sampler(configure(SHAPE), data)
    assert_same_plans(found, RandomIdentitySampler(data.labels, 4, 3, 77))
    labels = [data.labels[i] for i in plan_of(found)[0]]
    assert set(Counter(labels).values()) == {3}
    assert len(labels) == 12


def test_shuffled_batches(configure):
    data = training_set(8, 7)
    options = {"DATALOADER.SAMPLER": "softmax", "SOLVER.STAGE2.IMS_PER_BATCH": 9, "SOLVER.SEED": 7}
    assert_same_plans(build_train_sampler(configure(options), data), ShuffledSampler(56, 9, 7))


@pytest.mark.parametrize("name", ["gs_text", "gs_image"])
def test_batches_of_nearest_identities(configure, name):
    data = training_set(8, 7)
    found = build_train_sampler(configure(SHAPE, {"DATALOADER.SAMPLER": name}), data)
    expected = GraphSampler(data.labels, 4, 3, 77)
    for sampler in (found, expected):
        sampler.set_graph(graph(8))
    assert_same_plans(found, expected)


@pytest.mark.parametrize("name", ["dfgs_text", "dfgs_image"])
@pytest.mark.parametrize(
    ("options", "walk"),
    [
        ({}, {}),
        ({"SHUFFLE": False}, {"shuffle_rows": False}),
        ({"WALK": "greedy"}, {"walk": "greedy"}),
        ({"WALK": "balanced"}, {"walk": "balanced"}),
        ({"MAX_VISITS": 1}, {"max_visits": 1}),
        ({"ROTATE_DOMAINS": True}, {"domains": True}),
        (
            {"SHUFFLE": False, "WALK": "greedy", "MAX_VISITS": 2, "ROTATE_DOMAINS": True},
            {"shuffle_rows": False, "walk": "greedy", "max_visits": 2, "domains": True},
        ),
    ],
)
def test_walks_over_look_alikes(configure, name, options, walk):
    data = training_set(9, 7, num_domains=3)
    dfgs = {f"DATALOADER.DFGS.{key}": value for key, value in options.items()}
    found = build_train_sampler(configure(SHAPE, dfgs, {"DATALOADER.SAMPLER": name}), data)
    if "domains" in walk:
        walk = {**walk, "domains": data.domains}
    expected = DepthFirstGraphSampler(
        data.labels, data.camids, 4, 3, 77, options=WalkOptions(**walk)
    )
    assert found.options == expected.options
    for sampler in (found, expected):
        sampler.set_graph(graph(9))
    assert_same_plans(found, expected)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("softmax_triplet", RandomIdentitySampler),
        ("dfgs_image", RandomIdentitySampler),
        ("softmax", ShuffledSampler),
    ],
)
def test_random_batches_of_stage_0(configure, name, expected):
    data = training_set(8, 7)
    found = build_random_sampler(configure(SHAPE, {"DATALOADER.SAMPLER": name}), data, 77)
    sizes = (56, 12) if expected is ShuffledSampler else (data.labels, 4, 3)
    assert_same_plans(found, expected(*sizes, 77))


@pytest.mark.parametrize(("name", "most"), [("dfgs_image", 6), ("gs_text", 4)])
def test_neighbours_that_can_be_skipped(configure, name, most):
    """Of eight identities, one neighbour is left, or P - 1 = 3."""
    data, sampler = training_set(8, 7), {"DATALOADER.SAMPLER": name}
    cfg = configure(SHAPE, sampler, {"DATALOADER.DFGS.SKIP": most})
    assert build_train_sampler(cfg, data).num_pids == 4
    cfg = configure(SHAPE, sampler, {"DATALOADER.DFGS.SKIP": most + 1})
    with pytest.raises(ConfigError, match=f"between 0 and {most} with 8 .* and {name};"):
        build_train_sampler(cfg, data)


@pytest.mark.parametrize(
    ("options", "processes", "refused"),
    [
        ({}, 2, False),
        ({}, 3, True),
        ({"DATALOADER.SAMPLER": "softmax"}, 3, False),
        ({"DSGL.ENABLED": True}, 3, False),
        ({"DSGL.ENABLED": True}, 13, True),
    ],
)
def test_processes_that_can_share_a_batch(configure, options, processes, refused):
    """Four identities divide among two processes; twelve anchors are enough for twelve."""
    cfg, data = configure(SHAPE, options), training_set(8, 7)
    if refused:
        with pytest.raises(ValueError, match=f"{processes} processes"):
            build_train_sampler(cfg, data, processes)
    else:
        assert build_train_sampler(cfg, data, processes).seed == 77


# -------------------------------------------------------------------------------------- the walk


def dfgs_of(configure, data, num_pids, **options):
    dfgs = {f"DATALOADER.DFGS.{key}": value for key, value in options.items()}
    shape = {"DATALOADER.NUM_INSTANCE": 2, "SOLVER.STAGE2.IMS_PER_BATCH": 2 * num_pids}
    cfg = configure(shape, {"DATALOADER.SAMPLER": "dfgs_image"}, dfgs)
    return build_train_sampler(cfg, data)


def ring(num_identities, *steps):
    """Every identity's neighbours are those so many steps further."""
    return torch.tensor(
        [[(i + step) % num_identities for step in steps] for i in range(num_identities)]
    )


@pytest.mark.parametrize("shuffle", [False, True])
def test_unshuffled_rows_are_walked_nearest_first(configure, shuffle):
    """The nearest neighbour is the next on a ring, so batches are arcs of it."""
    data = training_set(14, 2)
    sampler = dfgs_of(configure, data, 7, SHUFFLE=shuffle)
    sampler.set_graph(ring(14, 1, 5, 9))
    arcs = []
    for epoch in range(1, 9):
        for batch in identities_of(sampler, data, epoch):
            assert len(set(batch)) == 7
            arcs.append(any({(s + i) % 14 for i in range(7)} == set(batch) for s in range(14)))
    assert len(arcs) == 16
    assert all(arcs) != shuffle
    assert sum(arcs) < 4 or not shuffle


ROWS = [[3, 5], [5, 2], [5, 6], [0, 5], [2, 5], [2, 3], [4, 1]]  # nearest first
CHUNKS = 3


def possible_plans(rows, chunks, num_pids, *, at_once=False):
    """The batches of every walk of CLIP-DFGS over a graph, nearest first, wherever it starts.

    An identity that is in the open batch already waits until everything else on the stack is done,
    or with `at_once` only until the next batch.
    """
    plans = set()

    def walk(stack, deferred, batches, batch, left):
        stack, deferred, left = deque(stack), list(deferred), dict(left)
        batches, batch = list(batches), list(batch)
        while any(left.values()):
            if not stack:
                starts = [x for x in left if left[x] == chunks and x not in batch]
                for start in starts or [x for x in left if left[x] and x not in batch]:
                    walk([start], deferred, batches, batch, left)
                if starts or any(left[x] and x not in batch for x in left):
                    return
                break
            label = stack.pop()
            if label in batch and left[label]:
                deferred.append(label)
                continue
            if not left[label]:
                continue
            batch.append(label)
            left[label] -= 1
            if len(batch) == num_pids:
                batches.append(frozenset(batch))
                stack = deque([*stack, *deferred] if at_once else [*deferred, *stack])
                batch, deferred = [], []
            stack.extend(other for other in reversed(rows[label]) if left[other])
        assert not set(batch) - frozenset().union(*batches)  # nothing to fill up
        plans.add(frozenset(Counter(batches).items()))

    walk([], [], [], [], dict.fromkeys(range(len(rows)), chunks))
    return plans


def test_identities_of_the_open_batch_wait_for_the_rest_of_the_walk(configure):
    data = training_set(len(ROWS), 2 * CHUNKS)
    sampler = dfgs_of(configure, data, 3, SHUFFLE=False)
    sampler.set_graph(torch.tensor(ROWS))
    expected = possible_plans(ROWS, CHUNKS, 3)
    others = possible_plans(ROWS, CHUNKS, 3, at_once=True)
    assert len(others - expected) > len(others & expected)
    found = set()
    for epoch in range(1, 13):
        batches = map(frozenset, identities_of(sampler, data, epoch))
        found.add(frozenset(Counter(batches).items()))
    assert found <= expected
    assert len(found) > 1


@pytest.mark.parametrize(("most", "visits"), [(1, 1), (2, 2), (3, 3), (0, 3)])
def test_visits_of_an_identity_are_limited(configure, most, visits):
    data = training_set(8, 6)
    sampler = dfgs_of(configure, data, 4, MAX_VISITS=most)
    sampler.set_graph(graph(8))
    for epoch in range(1, 6):
        batches = identities_of(sampler, data, epoch)
        assert set().union(*batches) == set(range(8))
        assert len(batches) in (2 * visits, 2 * visits - 1)  # the last one may lack identities


@pytest.mark.parametrize("rotate", [True, False])
def test_restarts_take_the_data_sets_in_turn(configure, rotate):
    """Identities are linked in pairs, so a batch of four is two pairs: one of each data set."""
    data = training_set(24, 2, num_domains=2)
    sampler = dfgs_of(configure, data, 4, ROTATE_DOMAINS=rotate)
    sampler.set_graph(torch.tensor([[i ^ 1] for i in range(24)]))
    mixed = []
    for epoch in range(1, 5):
        for batch in identities_of(sampler, data, epoch):
            mixed.append(sum(label < 12 for label in batch) == 2)
    assert all(mixed) == rotate


def test_greedy_batches_have_the_most_links(configure):
    """Three cliques of four: greedy batches are the cliques."""
    data = training_set(12, 2)
    rows = [[j for j in range(12) if j % 3 == i % 3 and j != i] + [(i + 1) % 12] for i in range(12)]
    greedy = dfgs_of(configure, data, 4, WALK="greedy")
    walked = dfgs_of(configure, data, 4)
    cliques = {frozenset(range(first, 12, 3)) for first in range(3)}
    plans = []
    for sampler in (greedy, walked):
        sampler.set_graph(torch.tensor(rows))
        plans.append([set(map(frozenset, identities_of(sampler, data, e))) for e in range(1, 7)])
    assert all(plan == cliques for plan in plans[0])
    assert not all(plan == cliques for plan in plans[1])


@pytest.mark.parametrize(("walk", "scarcity"), [("greedy", 0.0), ("balanced", SCARCITY)])
def test_scarcity_of_a_walk(configure, monkeypatch, walk, scarcity):
    """Identities that would soon be alone are taken in time by the balanced walk only."""
    seen = []
    original = dfgs.greedy_walk

    def watch(*arguments, **options):
        seen.append(options["scarcity"])
        return original(*arguments, **options)

    monkeypatch.setattr(dfgs, "greedy_walk", watch)
    data = training_set(12, 2)
    sampler = dfgs_of(configure, data, 4, WALK=walk)
    sampler.set_graph(torch.tensor([[(i + 1) % 12, (i + 2) % 12] for i in range(12)]))
    assert identities_of(sampler, data, 1)
    assert seen
    assert set(seen) == {scarcity}


# ---------------------------------------------------------------------------------- from clusters

CLUSTERS = [0] * 8 + [1] * 8 + [2] * 8 + [3] * 8 + [-1] * 4


def clusters_of(configure, *options):
    data = training_set(6, 6, num_cameras=4)
    cfg = configure({"DSGL.ENABLED": True}, SHAPE, *options)
    sampler = build_train_sampler(cfg, data)
    sampler.set_clusters(CLUSTERS)
    return sampler, data


@pytest.mark.parametrize(
    ("options", "num_instances", "passes"),
    [
        ({"DSGL.ITERS": 5}, 3, PassOptions(5, camera_aware=True, pairs=True)),
        (
            {"DSGL.ITERS": 6, "DSGL.CAMERA_AWARE": False},
            3,
            PassOptions(6, camera_aware=False, pairs=True),
        ),
        ({"DSGL.ITERS": 0, "DSGL.W_KL": 0}, 3, PassOptions(0, pairs=False)),
        ({"DSGL.ITERS": 4, "DSGL.MEMORY": "CM"}, 3, PassOptions(4, pairs=False)),
        (
            {"DSGL.ITERS": 3, "DATALOADER.SAMPLER": "softmax", "DSGL.MEMORY": "CMhard"},
            None,
            PassOptions(3, pairs=False),
        ),
    ],
)
def test_batches_of_clusters(configure, options, num_instances, passes):
    found, data = clusters_of(configure, options)
    expected = ClusterSampler(data.camids, 12, num_instances, 77, passes)
    expected.set_clusters(CLUSTERS)
    assert found.options == passes
    assert found.pairs == expected.pairs
    assert_same_plans(found, expected)
    assert len(plan_of(found)) == (passes.num_batches or 1)


@pytest.mark.parametrize("aware", [True, False])
def test_companions_come_from_other_cameras(configure, aware):
    sampler, data = clusters_of(
        configure, {"DSGL.CAMERA_AWARE": aware, "DSGL.W_KL": 0, "DSGL.ITERS": 20}
    )
    apart = [
        data.camids[anchor] != data.camids[other]
        for batch in plan_of(sampler)
        for start in range(0, len(batch), 3)
        for anchor, other in [batch[start : start + 2]]
    ]
    assert len(apart) == 80
    assert all(apart) == aware


def test_partners_follow_the_anchors_when_the_relative_entropy_needs_them(configure):
    with_partners, _ = clusters_of(configure, {"DSGL.ITERS": 5})
    without, _ = clusters_of(configure, {"DSGL.ITERS": 5, "DSGL.W_KL": 0})
    for batch, anchors in zip(plan_of(with_partners), plan_of(without), strict=True):
        assert batch[:12] == anchors
        assert [CLUSTERS[i] for i in batch[12:]] == [CLUSTERS[i] for i in anchors]


@pytest.mark.parametrize(
    ("options", "partners"),
    [
        ({}, True),
        ({"DSGL.W_KL": 0}, False),
        ({"DSGL.W_KL": 0.25}, True),
        ({"DSGL.MEMORY": "DLhybrid_v2"}, False),
    ],
)
def test_partners_are_needed_by_the_relative_entropy_of_one_memory(configure, options, partners):
    assert needs_partners(configure({"DSGL.ENABLED": True}, options)) == partners

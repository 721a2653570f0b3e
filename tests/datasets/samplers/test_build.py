"""Samplers of a configuration."""

import pytest

from config import ConfigError, load_cfg
from config.samplers import CLUSTER_SAMPLERS, SAMPLERS
from datasets.records import Sample
from datasets.samplers import (
    ClusterSampler,
    DepthFirstGraphSampler,
    GraphSampler,
    RandomIdentitySampler,
    ShuffledSampler,
)
from datasets.samplers.build import build_random_sampler, build_train_sampler
from datasets.samplers.options import PassOptions, WalkOptions
from datasets.sources import TrainingSet

DATA = TrainingSet(
    [Sample(f"{i}.jpg", i // 4, i % 2) for i in range(24)],
    [i // 4 for i in range(24)],
    [i // 12 for i in range(24)],
    *(6, 2, 1, ("some", "others"), (0, 1)),
)
OPTS = [*("DATALOADER.NUM_INSTANCE", "2", "SOLVER.STAGE2.IMS_PER_BATCH", "8", "SOLVER.SEED", "7")]
DSGL = ("DSGL.ENABLED", "True")
CLASSES = {
    "softmax": ShuffledSampler,
    "softmax_triplet": RandomIdentitySampler,
    "dfgs_text": DepthFirstGraphSampler,
    "dfgs_image": DepthFirstGraphSampler,
    "gs_text": GraphSampler,
    "gs_image": GraphSampler,
}


def cfg_of(*opts):
    return load_cfg(None, [*OPTS, *opts])


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_name_of_the_table_builds_its_sampler(name):
    sampler = build_train_sampler(cfg_of("DATALOADER.SAMPLER", name), DATA)
    assert type(sampler) is CLASSES[name]
    assert sampler.seed == 7
    assert sampler.equal_shares == SAMPLERS[name].p_x_k
    if SAMPLERS[name].p_x_k:
        assert (sampler.num_pids, sampler.num_instances) == (4, 2)
    else:
        assert (sampler.num_images, sampler.batch_size) == (24, 8)


@pytest.mark.parametrize("name", CLUSTER_SAMPLERS)
def test_every_name_builds_batches_of_clusters_without_labels(name):
    sampler = build_train_sampler(cfg_of(*DSGL, "DATALOADER.SAMPLER", name), DATA)
    assert type(sampler) is ClusterSampler
    assert (sampler.batch_size, sampler.seed) == (8, 7)
    assert sampler.num_instances == (2 if CLUSTER_SAMPLERS[name].p_x_k else None)


def test_options_of_the_walk():
    opts = ["DATALOADER.SAMPLER", "dfgs_image", "DATALOADER.DFGS.SHUFFLE", "False"]
    opts += ["DATALOADER.DFGS.WALK", "greedy", "DATALOADER.DFGS.MAX_VISITS", "3"]
    sampler = build_train_sampler(cfg_of(*opts), DATA)
    assert sampler.options == WalkOptions(shuffle_rows=False, walk="greedy", max_visits=3)
    sampler = build_train_sampler(cfg_of(*opts, "DATALOADER.DFGS.ROTATE_DOMAINS", "True"), DATA)
    assert sampler.options.domains == DATA.domains


@pytest.mark.parametrize(
    ("opts", "options"),
    [
        ((), PassOptions(400, camera_aware=True, pairs=True)),
        (
            ("DSGL.CAMERA_AWARE", "False", "DSGL.ITERS", "0"),
            PassOptions(0, camera_aware=False, pairs=True),
        ),
        (("DSGL.W_KL", "0"), PassOptions(400, pairs=False)),
        (("DSGL.MEMORY", "CM"), PassOptions(400, pairs=False)),
    ],
)
def test_options_of_batches_of_clusters(opts, options):
    assert build_train_sampler(cfg_of(*DSGL, *opts), DATA).options == options


@pytest.mark.parametrize(("name", "kind"), CLASSES.items())
def test_stage_0_has_random_batches_of_the_same_shape(name, kind):
    sampler = build_random_sampler(cfg_of("DATALOADER.SAMPLER", name), DATA, 3)
    expected = ShuffledSampler if kind is ShuffledSampler else RandomIdentitySampler
    assert type(sampler) is expected
    assert len(next(iter(sampler))) == 8


def test_shuffled_sampler_needs_no_whole_identities():
    opts = ["DATALOADER.SAMPLER", "softmax", "SOLVER.STAGE2.IMS_PER_BATCH", "13"]
    assert [len(batch) for batch in build_train_sampler(cfg_of(*opts), DATA)] == [13, 11]


@pytest.mark.parametrize(
    ("opts", "processes", "message"),
    [
        (["SOLVER.STAGE2.IMS_PER_BATCH", "14"], 1, "needs 7 identities, the training set has 6"),
        (
            ["SOLVER.STAGE2.IMS_PER_BATCH", "6"],
            2,
            r"3 identities per batch do not divide among 2 processes: set .*to a multiple of 4",
        ),
        ([*DSGL], 9, r"IMS_PER_BATCH: 8 images are too few for 9 processes"),
    ],
)
def test_batches_that_cannot_be_filled_or_shared(opts, processes, message):
    cfg = cfg_of("DATALOADER.SAMPLER", "softmax_triplet", *opts)
    with pytest.raises(ValueError, match=message):
        build_train_sampler(cfg, DATA, processes)


@pytest.mark.parametrize(
    ("name", "skip", "bounds"),
    [
        ("dfgs_image", 5, "5 should be between 0 and 4 with 6 training identities and dfgs_image"),
        ("dfgs_text", 10_000, "10000 should be between 0 and 4"),
        ("gs_image", 3, "3 should be between 0 and 2"),
    ],
)
def test_skip_that_leaves_no_neighbour_is_refused(name, skip, bounds):
    opts = ["DATALOADER.SAMPLER", name, "DATALOADER.DFGS.SKIP"]
    with pytest.raises(ConfigError, match=r"DATALOADER\.DFGS\.SKIP: " + bounds):
        build_train_sampler(cfg_of(*opts, str(skip)), DATA)
    allowed = 4 if name.startswith("dfgs") else 2
    assert build_train_sampler(cfg_of(*opts, str(allowed)), DATA).num_pids == 4


def test_skip_is_not_checked_by_a_sampler_without_a_graph():
    opts = ["DATALOADER.SAMPLER", "softmax_triplet", "DATALOADER.DFGS.SKIP", "5"]
    assert build_train_sampler(cfg_of(*opts), DATA).num_pids == 4

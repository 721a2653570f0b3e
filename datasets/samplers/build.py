"""The sampler of a configuration."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from typing import Any

from yacs.config import CfgNode

from config.errors import ConfigError
from config.free_options import free_options
from config.plugins import register
from config.samplers import SAMPLERS, SamplerKind, sampler_kind
from datasets.samplers import random_identity, shuffled
from datasets.samplers.options import PassOptions, SamplerOptions, WalkOptions
from datasets.samplers.planner import EpochPlanner, check_batch_shape
from datasets.sources import TrainingSet


def register_sampler(
    name: str,
    make: Any = None,
    *,
    p_x_k: bool = True,
    graph: str | None = None,
    full_rows: bool = False,
) -> Any:
    """Register a value of DATALOADER.SAMPLER; without `make`, the decorator of a function.

    Args:
        name: in DATALOADER.SAMPLER.
        make: `TrainingSet` and `SamplerOptions` -> an `EpochPlanner`.
        p_x_k: see `SamplerKind`, as for `graph` and `full_rows`.
        graph: "text", "image" or "both"; the sampler then has `set_graph` like
            `DepthFirstGraphSampler`.
        full_rows: the graph must be complete.

    Raises:
        ValueError: the name is taken.
    """

    def add(make: Any) -> Any:
        register(SAMPLERS, name, SamplerKind(make, p_x_k, graph, full_rows))
        return make

    return add if make is None else add(make)


def build_train_sampler(cfg: CfgNode, data: TrainingSet, processes: int = 1) -> EpochPlanner:
    """The sampler that DATALOADER.SAMPLER names; it plans global batches.

    Args:
        cfg: DATALOADER, DSGL, SOLVER.SEED and SOLVER.STAGE2.IMS_PER_BATCH count.
        data: the training images.
        processes: processes that share every batch.

    Raises:
        ConfigError: DATALOADER.DFGS.SKIP leaves no neighbour.
        ValueError: too few identities for a batch, or batches do not divide among the processes.
    """
    kind = sampler_kind(cfg)
    options = _sampler_options(cfg, kind, data)
    _check_processes(cfg, kind, data, processes)
    if kind.graph is not None:
        _check_graph(cfg, kind, data.num_classes)
    make = kind.maker
    if isinstance(make, str):
        make = import_module(f"{__package__}.{make}").make_sampler
    sampler: EpochPlanner = make(data, options)
    return sampler


def build_random_sampler(cfg: CfgNode, data: TrainingSet, seed: int) -> EpochPlanner:
    """Random batches of the same shape, for stage 0: P x K, or shuffled."""
    kind = sampler_kind(cfg)
    options = replace(_sampler_options(cfg, kind, data), seed=seed)
    make_sampler = random_identity.make_sampler if kind.p_x_k else shuffled.make_sampler
    return make_sampler(data, options)


def needs_partners(cfg: CfgNode) -> bool:
    """Whether DSGL loads a partner for every image: the relative entropy compares the two."""
    return cfg.DSGL.MEMORY == "DLhybrid" and cfg.DSGL.W_KL > 0


def _sampler_options(cfg: CfgNode, kind: SamplerKind, data: TrainingSet) -> SamplerOptions:
    dfgs = cfg.DATALOADER.DFGS
    return SamplerOptions(
        batch_size=cfg.SOLVER.STAGE2.IMS_PER_BATCH,
        num_instances=cfg.DATALOADER.NUM_INSTANCE,
        p_x_k=kind.p_x_k,
        seed=cfg.SOLVER.SEED,
        walk=WalkOptions(
            shuffle_rows=dfgs.SHUFFLE,
            walk=dfgs.WALK,
            max_visits=dfgs.MAX_VISITS,
            domains=data.domains if dfgs.ROTATE_DOMAINS else None,
        ),
        clusters=PassOptions(
            num_batches=cfg.DSGL.ITERS,
            camera_aware=cfg.DSGL.CAMERA_AWARE,
            pairs=needs_partners(cfg),
        ),
        user=free_options(cfg),
    )


def _check_processes(cfg: CfgNode, kind: SamplerKind, data: TrainingSet, processes: int) -> None:
    size, num_instances = cfg.SOLVER.STAGE2.IMS_PER_BATCH, cfg.DATALOADER.NUM_INSTANCE
    if cfg.DSGL.ENABLED:
        if size < processes:
            raise ValueError(
                f"SOLVER.STAGE2.IMS_PER_BATCH: {size} images are too few for {processes} processes"
            )
    elif kind.p_x_k:
        check_batch_shape(data.num_classes, size // num_instances, num_instances, processes)


def _check_graph(cfg: CfgNode, kind: SamplerKind, num_pids: int) -> None:
    """The graph has a neighbour for every identity, or P - 1 if its rows must be full."""
    skip = cfg.DATALOADER.DFGS.SKIP
    per_batch = cfg.SOLVER.STAGE2.IMS_PER_BATCH // cfg.DATALOADER.NUM_INSTANCE
    most = num_pids - 1 - (per_batch - 1 if kind.full_rows else 1)
    if skip > most:
        raise ConfigError(
            f"DATALOADER.DFGS.SKIP: {skip} should be between 0 and {max(most, 0)} with {num_pids} "
            f"training identities and {cfg.DATALOADER.SAMPLER}; more leaves too few neighbours"
        )

"""What a training run reads, checked before anything is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from yacs.config import CfgNode

from config.errors import ConfigError
from datasets.checks.leakage import check_leakage
from datasets.records import DataSplits
from datasets.registry import read_dataset
from datasets.samplers.build import build_train_sampler
from datasets.samplers.planner import EpochPlanner
from datasets.sources import TrainingSet, join_sources
from processor.evaluation.build import build_evaluator, build_targets
from processor.evaluation.target import Target
from processor.runtime import distributed
from processor.runtime.precision import Precision


@dataclass(frozen=True, slots=True)
class RunPlan:
    """What a training run reads and how it fills batches; nothing has been written yet.

    Attributes:
        sources: the data sets of DATASETS.NAMES.
        data: their training images, joined.
        targets: what is evaluated on.
        sampler: plans the image stage's batches.
    """

    sources: list[DataSplits]
    data: TrainingSet
    targets: list[Target]
    sampler: EpochPlanner


def plan_run(cfg: CfgNode) -> RunPlan:
    """Read the data of a configuration and look for all that would make the run fail or worthless.

    Raises:
        ConfigError, FileNotFoundError, ValueError: something in the configuration or the data that
            cannot work; says what to change.
        LeakageError: a target's test images or test identities are trained on.
    """
    use_all = cfg.DATASETS.USE_ALL
    sources = build_sources(cfg)
    data = join_sources(sources, use_all=use_all)
    if cfg.MODEL.SIE_CAMERA and data.num_cameras < 2:
        raise ConfigError("MODEL.SIE_CAMERA: the training images are of one camera; leave it out")
    targets = build_targets(cfg, data.camera_ranges(), sources)
    build_evaluator(cfg, targets, Precision.of(cfg.SOLVER.AMP, torch.device("cpu"))).check()
    notes = check_leakage(sources, [target.splits for target in targets], use_all=use_all)
    targets = _add_remarks(targets, notes)
    sampler = build_train_sampler(cfg, data, distributed.size())
    return RunPlan(sources, data, targets, sampler)


def build_sources(cfg: CfgNode) -> list[DataSplits]:
    """The data sets of DATASETS.NAMES; raises as `read_dataset`."""
    return [read_dataset(name, cfg.DATASETS.ROOT_DIR) for name in cfg.DATASETS.NAMES]


def _add_remarks(targets: Sequence[Target], notes: Mapping[str, str]) -> list[Target]:
    """The targets, those named in `notes` with a remark more."""
    return [
        replace(target, remarks=(*target.remarks, notes[target.name]))
        if target.name in notes
        else target
        for target in targets
    ]

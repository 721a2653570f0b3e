"""The data of a training run, checked before anything is written."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from yacs.config import CfgNode

from config import with_options
from config.errors import ConfigError
from datasets.checks.leakage import check_leakage
from datasets.checks.outputs import refuse_inside_data
from datasets.records import DataSplits
from datasets.registry import BENCHMARKS, read_dataset
from datasets.samplers.build import build_train_sampler
from datasets.samplers.planner import EpochPlanner
from datasets.sources import TrainingSet, join_sources
from processor.evaluation.build import build_evaluator, build_targets
from processor.evaluation.target import Target
from processor.runtime import distributed

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RunPlan:
    """The data of a training run and the sampler of its batches.

    Attributes:
        sources: the data sets of DATASETS.NAMES.
        data: their training images, joined.
        targets: the data sets to evaluate on; empty if unlabelled images are all there is.
        sampler: plans the image stage's batches.
    """

    sources: list[DataSplits]
    data: TrainingSet
    targets: list[Target]
    sampler: EpochPlanner


def plan_run(cfg: CfgNode) -> RunPlan:
    """Read the data of a configuration and check that the run can succeed.

    Raises:
        ConfigError, FileNotFoundError, ValueError: configuration or data cannot be used; says what
            to change.
        LeakageError: a target's test images or test identities are trained on.
    """
    named, use_all = cfg.DATASETS, cfg.DATASETS.USE_ALL
    if cfg.OUTPUT_DIR:
        names = [*named.NAMES, *named.TARGETS]
        refuse_inside_data(Path(cfg.OUTPUT_DIR), "OUTPUT_DIR", names, named.ROOT_DIR)
    sources = build_sources(cfg)
    data = join_sources(sources, use_all=use_all)
    if cfg.MODEL.SIE_CAMERA and data.num_cameras < 2:
        raise ConfigError("MODEL.SIE_CAMERA: all training images are from one camera; set it False")
    targets = build_targets(cfg, data.camera_ranges(), sources)
    if not cfg.DATASETS.TARGETS:
        targets = _with_test_images(targets, labelled=not cfg.DSGL.ENABLED)
    _check_targets(cfg, targets)
    notes = check_leakage(sources, [target.splits for target in targets], use_all=use_all)
    targets = add_remarks(targets, notes)
    sampler = build_train_sampler(cfg, data, distributed.size())
    return RunPlan(sources, data, targets, sampler)


def _check_targets(cfg: CfgNode, targets: list[Target]) -> None:
    """Raise as `Evaluator.check`; a plan can be made on a machine without the run's device."""
    cfg = with_options(cfg, {"TEST.AMP": "off"})
    build_evaluator(cfg, targets, torch.device("cpu")).check()


def _with_test_images(targets: Sequence[Target], *, labelled: bool) -> list[Target]:
    """The targets without own data that is only for training.

    Without labels, all data sets may be only for training; of a benchmark with labels, that is more
    likely a mistake.
    """
    without = [
        target.name
        for target in targets
        if not (target.splits[0].query or target.splits[0].gallery)
        and not (labelled and target.name in BENCHMARKS)
    ]
    if without:
        only = len(without) == len(targets)
        logger.warning(
            "no labelled test images in %s: %s; DATASETS.TARGETS names a labelled data set to "
            "evaluate on",
            ", ".join(without),
            "training without evaluation" if only else "evaluation on the other data sets",
        )
    return [target for target in targets if target.name not in without]


def build_sources(cfg: CfgNode) -> list[DataSplits]:
    """The data sets of DATASETS.NAMES; raises as `read_dataset`."""
    return [read_dataset(name, cfg.DATASETS.ROOT_DIR) for name in cfg.DATASETS.NAMES]


def add_remarks(targets: Sequence[Target], notes: Mapping[str, str]) -> list[Target]:
    """The targets, with the note on a target added to its remarks."""
    return [
        replace(target, remarks=(*target.remarks, notes[target.name]))
        if target.name in notes
        else target
        for target in targets
    ]

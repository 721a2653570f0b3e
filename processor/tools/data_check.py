"""Find faults of data sets before a run does; decodes every image."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict

from yacs.config import CfgNode

from config import load_cfg
from config.samplers import sampler_kind
from datasets.checks.data_sets import (
    Use,
    check_data_set,
    find_leaks,
    find_training_faults,
    summarize,
)
from datasets.checks.images import find_shared_images, read_files
from datasets.checks.report import ERROR, Fault, Findings, format_report
from datasets.images.workers import limit_workers
from datasets.records import DataSplits
from datasets.registry import locate, num_splits, read_dataset
from processor.runtime.files import write_json
from processor.runtime.log import Lines
from processor.runtime.outputs import check_output_file
from processor.runtime.signals import stop_between_steps

logger = logging.getLogger(__name__)


class UnusableDataError(ValueError):
    """Data with faults that a run stops on."""


def run(arguments: argparse.Namespace) -> None:
    """Check and report.

    Raises:
        UnusableDataError: the data have faults that a run stops on.
        ConfigError, FileNotFoundError: see `load_cfg`.
    """
    if arguments.json is not None:
        check_output_file(arguments.json, "--json")
    findings = check(load_cfg(arguments.config_file, arguments.opts), arguments.names)
    logger.info("%s", Lines(format_report(findings)))
    if arguments.json is not None:
        write_json(arguments.json, asdict(findings))
        logger.info("written: %s", arguments.json)
    if findings.errors:
        raise UnusableDataError(f"data-check: a run stops on {findings.errors} of the faults")


def check(cfg: CfgNode, names: Sequence[str] = ()) -> Findings:
    """Check data sets.

    Args:
        cfg: data root, size of the model's input, and batches.
        names: data sets to check one by one, for training and evaluation; empty = those of the
            configuration, as it uses them.
    """
    sources = list(names or cfg.DATASETS.NAMES)
    targets = list(names or cfg.DATASETS.TARGETS or cfg.DATASETS.NAMES)
    data, faults = read_all(sources, targets, cfg.DATASETS.ROOT_DIR)
    with stop_between_steps() as check_stop:
        workers = limit_workers(cfg.DATALOADER.NUM_WORKERS)
        facts = read_files(image_files(data), workers, check_stop)
    for name, splits in data.items():
        use = Use(
            trains=not names and name in sources,
            tests=not names and name in targets,
            labelled=not cfg.DSGL.ENABLED,
            image_size=tuple(cfg.INPUT.SIZE_TEST),
            ignore_same_camera=cfg.TEST.IGNORE_SAME_CAMERA,
            skip_bad_images=cfg.INPUT.ON_BAD_IMAGE == "skip",
        )
        faults += check_data_set(splits, facts, use)
    trained = [data[name][0] for name in sources if name in data and data[name][0].train]
    runs = [[source] for source in trained] if names else [trained]
    for together in filter(None, runs):
        faults += find_shared_images(together, facts)
        faults += find_training_faults(
            together,
            batch_shape(cfg),
            use_all=cfg.DATASETS.USE_ALL,
            camera_table=cfg.MODEL.SIE_CAMERA,
        )
    if not names:
        tested = [data[name] for name in targets if name in data]
        faults += find_leaks(trained, tested, use_all=cfg.DATASETS.USE_ALL)
    return Findings([summarize(splits, facts) for splits in data.values()], faults)


def read_all(
    sources: Sequence[str], targets: Sequence[str], root: str
) -> tuple[dict[str, list[DataSplits]], list[Fault]]:
    """All splits of every data set, by name, and the faults of those that cannot be read."""
    data: dict[str, list[DataSplits]] = {}
    faults = []
    trained = [locate(name, root) for name in sources]
    for name in dict.fromkeys([*sources, *targets]):
        untrained = locate(name, root) not in trained
        try:
            data[name] = [
                read_dataset(name, root, split, tested_only=untrained)
                for split in range(num_splits(name))
            ]
        except (OSError, ValueError) as error:
            faults.append(Fault(ERROR, "data set not read", name, str(error), (), ""))
    return data, faults


def image_files(data: Mapping[str, Sequence[DataSplits]]) -> Iterator[str]:
    """The files of all data sets."""
    for splits in data.values():
        for split in splits:
            for image in (*split.train, *split.query, *split.gallery):
                yield image.path


def batch_shape(cfg: CfgNode) -> tuple[int, int] | None:
    """P and K of batches of identities; None for batches of clusters or shuffled images."""
    if cfg.DSGL.ENABLED or not sampler_kind(cfg).p_x_k:
        return None
    num_instances = cfg.DATALOADER.NUM_INSTANCE
    return cfg.SOLVER.STAGE2.IMS_PER_BATCH // num_instances, num_instances

"""Train once on several data sets, evaluate on several unseen ones, and print one table."""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path
from typing import Any

from yacs.config import CfgNode

from config import load_cfg
from processor.checkpoints.network_file import complete_sizes
from processor.experiment import evaluate, train
from processor.results.published_table import format_comparison, format_published
from processor.runtime.log import Lines
from processor.training.plan import RunPlan, plan_run

logger = logging.getLogger(__name__)


def run(arguments: argparse.Namespace) -> None:
    """Train, evaluate, and write results.json and results.md into OUTPUT_DIR.

    With TEST.WEIGHT nothing is trained: that model is evaluated on the protocol's targets.

    Raises:
        ConfigError, FileNotFoundError, ValueError: see `processor.experiment.train`.
        LeakageError: test images of a target are among the training images.
    """
    cfg = load_cfg(arguments.config_file, complete_sizes(arguments.opts))
    results_file = Path(cfg.OUTPUT_DIR) / "results.json"
    if arguments.compare:  # before any data is read
        logger.info("%s", Lines(compare(cfg, results_file if arguments.dry_run else None)))
    if arguments.dry_run:
        logger.info("%s", Lines(describe_plan(cfg, plan_run(cfg))))
        return
    report = evaluate(arguments.config_file, arguments.opts) if cfg.TEST.WEIGHT else train(cfg)
    if arguments.compare:
        logger.info("%s", Lines(compare_results(cfg, report.as_dict())))


def describe_plan(cfg: CfgNode, plan: RunPlan) -> str:
    """Sources and targets of a run, as text."""
    data = plan.data
    images = "all images" if data.use_all else "training images"
    lines = [f"protocol: {cfg.DATASETS.PROTOCOL or 'no published one'}", f"sources ({images}):"]
    for domain, source in enumerate(plan.sources):
        labels = [x for x, d in zip(data.labels, data.domains, strict=True) if d == domain]
        lines.append(f"  {source.name}: {len(set(labels)):,} identities, {len(labels):,} images")
        lines += [f"    {note}" for note in source.notes]
    lines.append(
        f"  together: {data.num_classes:,} identities, {len(data.samples):,} images, "
        f"{data.num_cameras} cameras"
    )
    lines.append("targets:")
    for target in plan.targets:
        query, gallery = target.splits[0].query, target.splits[0].gallery
        splits = f", {len(target.splits)} splits" if len(target.splits) > 1 else ""
        lines.append(f"  {target.name}: {len(query):,} queries, {len(gallery):,} gallery{splits}")
        lines += [f"    {note}" for note in target.notes]
    other = "other " if any(target.remarks for target in plan.targets) else ""
    lines.append(f"no {other}test image of a target is trained on (compared by path and content)")
    lines.append(f"would write to {cfg.OUTPUT_DIR}")
    return "\n".join(lines)


def compare(cfg: CfgNode, results_file: Path | None) -> str:
    """Published results of DATASETS.PROTOCOL, ranked with those of the file if it exists."""
    if results_file is None or not results_file.is_file():
        targets = cfg.DATASETS.TARGETS or cfg.DATASETS.NAMES
        return format_published(cfg.DATASETS.PROTOCOL, targets)
    try:
        results = json.loads(results_file.read_text(encoding="utf-8"))
        return compare_results(cfg, results)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"{results_file} holds no results: {error!r}") from error


def compare_results(cfg: CfgNode, results: dict[str, Any]) -> str:
    """Published results of DATASETS.PROTOCOL, ranked with these."""
    ours = {
        name: (target["mAP"], target["cmc"]["1"]) for name, target in results["targets"].items()
    }
    return format_comparison(cfg.DATASETS.PROTOCOL, ours)

"""Draw the training curves of one or several runs, finished or not, from their metrics.jsonl."""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from processor.pictures.curve_panels import Lines, Run, default_keys, mean_of_runs
from processor.pictures.curves import draw_curves
from processor.pictures.figure import save_figure
from processor.results.runs import find_runs
from processor.runtime.metrics_file import BEFORE_TRAINING_FILE, METRICS_FILE, read_metrics_file
from processor.runtime.outputs import check_output_file

logger = logging.getLogger(__name__)


def run(arguments: argparse.Namespace) -> None:
    """Draw the curves.

    Raises:
        FileNotFoundError: a folder holds no metrics.jsonl.
        ValueError: no epoch is finished yet, or a key is unknown.
    """
    path = arguments.output or Path(arguments.runs[0]) / "curves.png"
    check_output_file(path, "--output")
    folders = name_runs(arguments.runs)
    lines = {name: read_run(folder) for name, folder in folders.items()}
    runs = {name: Run(own) for name, own in lines.items()}
    if arguments.mean:
        runs = average_seeds(folders, lines)
    keys = arguments.keys or default_keys(runs)
    known = dict.fromkeys(key for run in runs.values() for line in run.lines for key in line)
    unknown = [key for key in keys if key not in known]
    if unknown:
        raise ValueError(
            f"--keys {' '.join(unknown)}: not in {METRICS_FILE}; known: {', '.join(known)}"
        )
    save_figure(draw_curves(runs, keys), path)
    logger.info("written: %s", path)


def read_run(folder: Path) -> list[dict[str, Any]]:
    """The finished epochs of a run, after an epoch 0 if it was evaluated before training.

    Raises:
        FileNotFoundError, ValueError: as `run`.
    """
    path = folder / METRICS_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{folder}: no {METRICS_FILE}; name the OUTPUT_DIR of a run")
    lines = read_metrics_file(path)
    if not lines:
        raise ValueError(f"{path}: no epoch is finished yet")
    evaluated = next((line for line in lines if "mAP" in line), None)
    before = folder / BEFORE_TRAINING_FILE
    if evaluated and before.is_file():
        try:
            results = json.loads(before.read_text(encoding="utf-8"))
            return [epoch_zero(results, evaluated), *lines]
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            logger.warning("%s is damaged and left out: %r", before, error)
    return lines


def epoch_zero(results: Mapping[str, Any], evaluated: Mapping[str, Any]) -> dict[str, Any]:
    """Results before training, in the keys of an evaluated epoch's line and in its stage.

    Args:
        results: the content of results_before_training.json.
        evaluated: a line of metrics.jsonl with scores.
    """
    parts = {"": results["average"]}
    parts |= {f"{name}/": scores for name, scores in results["targets"].items()}
    line: dict[str, Any] = {"stage": evaluated["stage"], "epoch": 0}
    for prefix, scores in parts.items():
        ranks = {f"rank{k}": value for k, value in scores["cmc"].items()}
        values = {"mAP": scores["mAP"], "mINP": scores["mINP"], **ranks}
        line |= {prefix + key: x for key, x in values.items() if prefix + key in evaluated}
    return line


def name_runs(folders: list[str]) -> dict[str, Path]:
    """Names of the runs: those of their folders, or whole paths if two folders share a name."""
    paths = list(dict.fromkeys(Path(folder) for folder in folders))
    short = [path.resolve().name for path in paths]
    unique = len(set(short)) == len(paths)
    return dict(zip(short if unique else map(str, paths), paths, strict=True))


def average_seeds(folders: Mapping[str, Path], lines: Mapping[str, Lines]) -> dict[str, Run]:
    """One curve per recipe: the mean over its runs, named after all of them."""
    groups: dict[str, list[str]] = {}
    for name, folder in folders.items():
        (found,) = find_runs([folder])
        groups.setdefault(found.recipe, []).append(name)
    runs = {}
    for names in groups.values():
        if len(names) == 1:
            runs[names[0]] = Run(lines[names[0]])
        else:
            title = f"mean of {', '.join(names)}; band: smallest to largest"
            runs[title] = mean_of_runs([lines[name] for name in names])
            longest = max(len(lines[name]) for name in names)
            if len(runs[title].lines) < longest:
                left_out = longest - len(runs[title].lines)
                logger.info("%s: %d epochs left out that not all runs have", title, left_out)
    return runs

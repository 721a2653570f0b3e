"""Draw the training curves of one or several runs, finished or not, from their metrics.jsonl."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import Any

from processor.pictures.curves import default_keys, draw_curves
from processor.pictures.style import plot_file, save_figure
from processor.runtime.run_folder import METRICS_FILE, read_metrics_file

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `run.py curves`."""
    parser.add_argument("runs", nargs="+", metavar="RUN_FOLDER", help="OUTPUT_DIR of a run")
    parser.add_argument(
        "--output",
        type=plot_file,
        metavar="FILE",
        help="PNG, SVG or PDF (default: curves.png in the first folder)",
    )
    parser.add_argument(
        "--keys",
        nargs="+",
        metavar="KEY",
        help="what to draw instead of losses, accuracy, mAP, Rank-1, hits, clusters and learning "
        "rate: keys of metrics.jsonl, e.g. images_per_second synthetic_street/mAP",
    )


def run(arguments: argparse.Namespace) -> None:
    """Draw the curves.

    Raises:
        FileNotFoundError: a folder holds no metrics.jsonl.
        ValueError: no epoch is finished yet, or a key is unknown.
    """
    runs = {name: read_run(folder) for name, folder in name_runs(arguments.runs).items()}
    keys = arguments.keys or default_keys(runs)
    known = dict.fromkeys(key for lines in runs.values() for line in lines for key in line)
    unknown = [key for key in keys if key not in known]
    if unknown:
        raise ValueError(
            f"--keys {' '.join(unknown)}: not in {METRICS_FILE}; known: {', '.join(known)}"
        )
    path = arguments.output or Path(arguments.runs[0]) / "curves.png"
    save_figure(draw_curves(runs, keys), path)
    logger.info("written: %s", path)


def read_run(folder: Path) -> list[dict[str, Any]]:
    """The finished epochs of a run; raises as `run`."""
    path = folder / METRICS_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{folder}: no {METRICS_FILE}; name the OUTPUT_DIR of a run")
    lines = read_metrics_file(path)
    if not lines:
        raise ValueError(f"{path}: no epoch is finished yet")
    return lines


def name_runs(folders: list[str]) -> dict[str, Path]:
    """What the runs are called: by their folders' names, or whole paths where names are equal."""
    paths = list(dict.fromkeys(Path(folder) for folder in folders))
    short = [path.resolve().name for path in paths]
    unique = len(set(short)) == len(paths)
    return dict(zip(short if unique else map(str, paths), paths, strict=True))

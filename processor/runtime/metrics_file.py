"""metrics.jsonl, a line per epoch of a run, and the file of its scores before training."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

METRICS_FILE = "metrics.jsonl"
BEFORE_TRAINING_FILE = "results_before_training.json"


def read_metrics_file(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl, without an unfinished last one of a run that is writing.

    Raises:
        ValueError: a line is not JSON; names the file and the line.
    """
    lines = []
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(keepends=True), 1):
        if not text.endswith("\n"):
            break
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError as error:
            raise ValueError(f"{path}, line {number}: not JSON ({error.msg})") from error
    return lines


def read_damaged_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl; damaged ones are left out with a warning."""
    lines = []
    text = path.read_text(encoding="utf-8", errors="replace")
    for number, line in enumerate(text.splitlines(keepends=True), 1):
        if not line.endswith("\n"):
            break
        try:
            found = json.loads(line)
            known = {"stage", "epoch"} <= found.keys()
        except (ValueError, AttributeError):
            known = False
        if known:
            lines.append(found)
        else:
            logger.warning("%s, line %d is damaged and left out", path, number)
    return lines

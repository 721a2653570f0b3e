"""The output folder of a run: configuration, log, metrics, record of the environment."""

from __future__ import annotations

import json
import logging
import platform
import shutil
import subprocess
import sys
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from config.text import is_unicode, printable
from processor.runtime import distributed
from processor.runtime.files import (
    errors_named,
    replace_non_finite,
    write_json,
    write_text,
)
from processor.runtime.metrics_file import (
    BEFORE_TRAINING_FILE,
    METRICS_FILE,
    read_damaged_metrics,
)

logger = logging.getLogger(__name__)

_PACKAGES = ("torch", "torchvision", "timm", "open_clip_torch", "numpy", "pillow", "yacs")
_OWN_FILES = (  # written by runs; any other file in the folder belongs to the user and stays
    "last.pth",
    "best.pth",
    "*_[0-9]*.pth",
    "config.yml",
    "run.json",
    "run_[0-9]*.json",
    "results.json",
    "results_*.json",
    "results.csv",
    "results_*.csv",
    "results.md",
    "results_*.md",
    "non_finite_batch.json",
    METRICS_FILE,
    "log.txt",
    "test_log.txt",
    "events.out.tfevents*",
)


class RunFolder:
    """OUTPUT_DIR of a training run.

    With several processes only the first one writes, but all must call every method.

    Args:
        path: the folder, created if absent. Files of an earlier run in it are moved to
            `previous_N` below it, unless that run is resumed.
        resume: keep the files of the earlier run in place.
    """

    def __init__(self, path: Path, *, resume: bool = False) -> None:
        self.path = path
        self._record: tuple[str, dict[str, Any]] | None = None
        distributed.wait_for_all()  # no process may still be reading the files moved now
        if distributed.is_first():
            path.mkdir(parents=True, exist_ok=True)
            if not resume:
                _set_aside(path)

    @property
    def last(self) -> Path:
        """The checkpoint to resume from."""
        return self.path / "last.pth"

    @property
    def before_training(self) -> Path:
        """Results of the model before this training."""
        return self.path / BEFORE_TRAINING_FILE

    def write_record(self, config_text: str, record: dict[str, Any]) -> None:
        """Write config.yml and run.json (versions, command, git hash and `record`).

        A resumed run adds run_2.json, run_3.json, ... and keeps the earlier records.
        """
        if not distributed.is_first():
            return
        self._record = (config_text, record)
        write_text(self.path / "config.yml", config_text)
        number = 1 + sum(1 for _ in self.path.glob("run.json"))
        number += sum(1 for _ in self.path.glob("run_[0-9]*.json"))
        name = "run.json" if number == 1 else f"run_{number}.json"
        write_json(self.path / name, {**environment_record(), **record})

    def read_metrics(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl so far, without one that a crash cut off."""
        path = self.path / METRICS_FILE
        mine = distributed.is_first() and path.is_file()
        return distributed.broadcast(read_damaged_metrics(path) if mine else [])

    def keep_metrics(self, lines: list[dict[str, Any]]) -> None:
        """Replace metrics.jsonl: a resumed run drops the lines of epochs that it repeats."""
        if not distributed.is_first():
            return
        write_text(self.path / METRICS_FILE, "".join(map(_json_line, lines)))

    def add_metrics(self, line: dict[str, Any]) -> None:
        """Append one epoch's line to metrics.jsonl and its numbers to TensorBoard."""
        if not distributed.is_first():
            return
        self._restore_record()
        path = self.path / METRICS_FILE
        with errors_named(path), path.open("a", encoding="utf-8") as file:
            file.write(_json_line(replace_non_finite(line)))
        if self._tensorboard is None:
            return
        for key, value in line.items():
            if isinstance(value, int | float) and key not in ("stage", "epoch"):
                self._tensorboard.add_scalar(
                    printable(f"stage{line['stage']}/{key}"), value, line["epoch"]
                )
        self._tensorboard.flush()

    def _restore_record(self) -> None:
        """Write config.yml and run.json anew if somebody has removed them during the run."""
        if self._record is not None and not (self.path / "config.yml").is_file():
            logger.warning(
                "%s was removed or emptied during the run: its configuration is written anew, but "
                "the log and the numbers of earlier epochs are lost",
                self.path,
            )
            self.write_record(*self._record)

    def close(self) -> None:
        """Close the TensorBoard file."""
        if "_tensorboard" in vars(self) and self._tensorboard is not None:
            self._tensorboard.close()

    @cached_property
    def _tensorboard(self) -> SummaryWriter | None:
        """Opened at the first epoch's end; None where TensorBoard cannot write."""
        if not is_unicode(str(self.path)):
            logger.warning(
                "no TensorBoard file, as the path %s is not UTF-8; %s has all numbers",
                self.path,
                METRICS_FILE,
            )
            return None
        return SummaryWriter(str(self.path))


def environment_record() -> dict[str, Any]:
    """Command, versions, platform and git hash of this process."""
    return {
        "command": sys.argv,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "git": _git_hash(),
    }


def _json_line(line: dict[str, Any]) -> str:
    return json.dumps(line) + "\n"


def _set_aside(path: Path) -> None:
    """Move the files of an earlier run into a new subfolder."""
    if not (path / "config.yml").is_file():
        return
    number = 1
    while (path / f"previous_{number}").exists():
        number += 1
    target = path / f"previous_{number}"
    target.mkdir()
    for pattern in _OWN_FILES:
        for file in path.glob(pattern):
            shutil.move(str(file), str(target / file.name))
    logger.warning("%s holds an earlier run: moved to %s", path, target)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _git_hash() -> str:
    """Commit of the program's own folder, with + if there are uncommitted changes."""
    here = Path(__file__).resolve().parents[2]
    if not (here / ".git").exists():  # installed: a repository around it is somebody else's
        return "unknown"

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=here, capture_output=True, text=True, check=True, timeout=10
        )
        return done.stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"

"""Training runs, read from their folders."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from processor.results.report import AVERAGED, BEFORE, TRAINED
from processor.runtime.stored import check_fields

_SET_ASIDE = re.compile(r"previous_\d+")
_USED = ("targets", "average", "protocol")  # blocks of results
_KEPT_RESULTS = re.compile(r"results(?:_(\d+))?\.json")


@dataclass(frozen=True, slots=True)
class Run:
    """A training run, finished or not.

    Attributes:
        folder: of the run.
        config: its configuration, as in config.yml.
        record: the content of run.json.
        results: the last epoch's evaluation, as in results.json; empty = the run is unfinished.
        progress: stage and epoch that the run has reached.
        before: the evaluation before training, on the same data sets; empty = there is none.
    """

    folder: Path
    config: dict[str, Any]
    record: dict[str, Any]
    results: dict[str, Any]
    progress: str
    before: dict[str, Any] = field(default_factory=dict)

    @property
    def evaluations(self) -> dict[str, dict[str, Any]]:
        """Model -> its results: before training, trained, averaged weights, as far as evaluated."""
        found = {
            BEFORE: self.before,
            TRAINED: self.results,
            AVERAGED: self.results.get("ema", {}),
        }
        return {model: results for model, results in found.items() if results}

    @property
    def recipe(self) -> str:
        """Configuration and data, equal in runs that repeat each other.

        Seed, folder and SOLVER.RESUME are left out.
        """
        solver = {k: v for k, v in self.config["SOLVER"].items() if k not in ("SEED", "RESUME")}
        rest = {k: v for k, v in self.config.items() if k not in ("SOLVER", "OUTPUT_DIR")}
        data = [
            part["sha256"] for side in ("data", "targets") for part in self.record.get(side, [])
        ]
        return json.dumps([solver, rest, data], sort_keys=True)


def find_runs(places: Iterable[Path]) -> list[Run]:
    """Find the runs in folders: each is the folder of a run, or contains runs at any depth.

    Runs that a later run has set aside (`previous_N`) are left out unless their folder is given.

    Raises:
        FileNotFoundError: a folder contains no run.
        ValueError: a file of a run is damaged; names the run.
    """
    folders: dict[Path, None] = {}
    for place in places:
        records = [place] if (place / "run.json").is_file() else _below(place)
        if not records:
            raise FileNotFoundError(
                f"no run in {place}: a training run's folder contains run.json and config.yml"
            )
        folders |= dict.fromkeys(records)
    return [read_run(folder) for folder in folders]


def _below(place: Path) -> list[Path]:
    found = (path.parent for path in place.rglob("run.json"))
    folders = sorted(x for x in found if (x / "config.yml").is_file())  # else of other programs
    return [
        folder
        for folder in folders
        if not any(_SET_ASIDE.fullmatch(part) for part in folder.relative_to(place).parts)
    ]


def read_run(folder: Path) -> Run:
    """Read the run of one folder; raises as `find_runs`."""
    try:
        config = yaml.safe_load((folder / "config.yml").read_text(encoding="utf-8"))
        record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        check_fields(folder / "run.json", record, {"seed": int})
        results = _read_results(folder)
        if results:
            check_fields(folder / "results.json", results, dict.fromkeys(_USED, dict))
        before = _read_before(folder, results)
        stage, epoch = _read_position(folder)
        last = stage in (2, "dsgl")  # training without labels uses stage 2's MAX_EPOCHS
        epochs = (
            config["SOLVER"].get("STAGE2" if last else f"STAGE{stage}", {}).get("MAX_EPOCHS", 0)
        )
    except (ValueError, LookupError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise ValueError(f"{folder}: a file of this run is damaged: {error!r}") from error
    if last and epoch < epochs:  # resumed for more epochs: the results are of fewer
        results = {}
    progress = f"stage {stage}, epoch {epoch} of {epochs}" if epoch else "no epoch finished"
    return Run(folder, config, record, results, progress, before)


def _read_results(folder: Path) -> dict[str, Any]:
    """The last results that training itself wrote.

    Earlier versions let an evaluation take the name results.json and renamed those of training.
    """
    found = {}
    for path in folder.glob("results*.json"):
        match = _KEPT_RESULTS.fullmatch(path.name)
        if match is not None:
            number = float(match[1] or "inf")
            found[number] = json.loads(path.read_text(encoding="utf-8"))
    latest: list[dict[str, Any]] = [found[number] for number in sorted(found, reverse=True)]
    return next((results for results in latest if results.get("checkpoint") == "last"), {})


def _read_before(folder: Path, results: dict[str, Any]) -> dict[str, Any]:
    """The evaluation before training, if it is on the data sets of the results."""
    file = folder / "results_before_training.json"
    if not results or not file.is_file():
        return {}
    before: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return before if list(before["targets"]) == list(results["targets"]) else {}


def _read_position(folder: Path) -> tuple[Any, int]:
    """Stage and epoch of the last complete line of metrics.jsonl."""
    path = folder / "metrics.jsonl"
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    whole = [line for line in text.splitlines(keepends=True) if line.endswith("\n")]
    if not whole:
        return 0, 0
    last = json.loads(whole[-1])
    return last["stage"], last["epoch"]

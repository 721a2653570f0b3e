"""A table of training runs: a row per configuration and target, with means over the seeds."""

from __future__ import annotations

import csv
import io
import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from statistics import fmean, stdev
from typing import Any

from processor.results.escaping import csv_cell, escape_markdown, markdown_code
from processor.results.files import COLUMNS, describe_scoring, target_remark
from processor.results.report import TRAINED, score_list
from processor.results.runs import Run

AVERAGE = "average"
MIN_PREFIX = 3  # letters, for a prefix to name several folders


@dataclass(frozen=True, slots=True)
class Place:
    """A part of a run's results.

    Attributes:
        target: a data set, or "average".
        model: a key of `Run.evaluations`.
    """

    target: str
    model: str

    def __str__(self) -> str:
        return f"{self.target}, {self.model}" if self.model != TRAINED else self.target

    def of(self, run: Run) -> dict[str, Any]:
        """The entry of a run's results."""
        results = run.evaluations[self.model]
        part: dict[str, Any] = (
            results[AVERAGE] if self.target == AVERAGE else results["targets"][self.target]
        )
        return part


@dataclass(frozen=True, slots=True)
class Repetitions:
    """Runs of one configuration on the same data, by seed.

    Attributes:
        finished: the runs with results.
        unfinished: the other runs.
    """

    finished: list[Run]
    unfinished: list[Run]

    @property
    def runs(self) -> list[Run]:
        """All runs, the finished ones first."""
        return [*self.finished, *self.unfinished]

    @property
    def name(self) -> str:
        """Name of the folder; of several folders their common prefix and `*`, or all names."""
        names = list(dict.fromkeys(run.folder.name for run in self.runs))
        common = takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
        prefix = "".join(letters[0] for letters in common)
        if len(names) == 1 or len(prefix) < MIN_PREFIX:
            return ", ".join(names)
        return f"{prefix}*"

    def places(self) -> list[Place]:
        """The targets, then their average if there are several; for every model of the runs."""
        if not self.finished:
            return []
        names = list(self.finished[0].results["targets"])
        names += [AVERAGE] if len(names) > 1 else []
        models = [
            model
            for model in self.finished[0].evaluations
            if all(model in run.evaluations for run in self.finished)
        ]
        return [Place(name, model) for model in models for name in names]

    def scores(self, place: Place) -> list[tuple[float, float | None]]:
        """Mean and standard deviation over the runs of each of COLUMNS, as fractions.

        The deviation is that of a sample (divided by n - 1); None for a single run.
        """
        columns = zip(*(score_list(place.of(run)) for run in self.finished), strict=True)
        several = len(self.finished) > 1
        return [(fmean(column), stdev(column) if several else None) for column in columns]

    def environment(self) -> dict[str, str]:
        """Command, hardware, versions and commit in words, with all distinct values of the runs.

        The command is that of the first run.
        """
        return {
            "command": " ".join(map(_quote, ["python", *self.runs[0].record["command"]])),
            "hardware": self._all(_hardware),
            "versions": self._all(_versions),
            "commit": self._all(lambda run: str(run.record["git"])),
        }

    def scoring(self) -> dict[str, Any]:
        """How the scores were made; empty without finished runs."""
        if not self.finished:
            return {}
        how = describe_scoring(self.finished[0].results)
        return {key: value for key, value in how.items() if key != "checkpoint"}

    def seeds(self) -> str:
        """Seeds of the finished runs."""
        return ", ".join(str(run.record["seed"]) for run in self.finished)

    def left(self) -> str:
        """The unfinished runs and their progress."""
        return "; ".join(
            f"{run.folder.as_posix()} (seed {run.record['seed']}): {run.progress}"
            for run in self.unfinished
        )

    def _all(self, describe: Callable[[Run], str]) -> str:
        return "; ".join(dict.fromkeys(describe(run) for run in self.runs))


def group_runs(runs: Iterable[Run]) -> list[Repetitions]:
    """Group the runs that repeat each other, in the order of their first folders."""
    by_recipe: dict[str, list[Run]] = {}
    for run in runs:
        by_recipe.setdefault(run.recipe, []).append(run)
    groups = []
    for group in by_recipe.values():
        group.sort(key=lambda run: (run.record["seed"], run.folder))
        groups.append(
            Repetitions(
                [run for run in group if run.results],
                [run for run in group if not run.results],
            )
        )
    return groups


def runs_markdown(groups: Sequence[Repetitions]) -> str:
    """The table, and below it command, environment, scoring and data of every row."""
    lines = [
        f"| run | target | {' | '.join(COLUMNS)} | seeds | hardware |",
        "|---" * (len(COLUMNS) + 4) + "|",
    ]
    for number, group in enumerate(groups, start=1):
        lines += _rows(f"{number}. {group.name}", group)
    lines += [
        "",
        "Scores of the last epoch in percent; several seeds: mean ± standard deviation (n - 1).",
    ]
    for number, group in enumerate(groups, start=1):
        lines += ["", *_remarks(number, group)]
    return "\n".join(lines) + "\n"


def _rows(name: str, group: Repetitions) -> list[str]:
    hardware = group.environment()["hardware"]
    if not group.finished:
        states = "; ".join(run.progress for run in group.unfinished)
        seeds = ", ".join(str(run.record["seed"]) for run in group.unfinished)
        cells = [name, f"not finished: {states}", *[""] * len(COLUMNS), seeds, hardware]
        return [_row(cells)]
    seeds = group.seeds()
    if group.unfinished:
        seeds += f" ({len(group.unfinished)} more not finished)"
    return [
        _row([name, str(place), *map(_percent, group.scores(place)), seeds, hardware])
        for place in group.places()
    ]


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(map(escape_markdown, cells))} |"


def _percent(score: tuple[float, float | None]) -> str:
    mean, deviation = score
    return f"{100 * mean:.1f}" + ("" if deviation is None else f" ± {100 * deviation:.1f}")


def _remarks(number: int, group: Repetitions) -> list[str]:
    environment = group.environment()
    folders = ", ".join(run.folder.as_posix() for run in group.runs)
    facts = {**environment, **group.scoring(), "folders": folders, "not finished": group.left()}
    command = facts.pop("command")
    pairs = [(key, str(value)) for key, value in facts.items() if value]
    if group.finished:
        targets = group.finished[0].results["targets"]
        pairs += [(name, target_remark(target)) for name, target in targets.items()]
    return [
        f"{number}. {markdown_code(command)}",
        *(f"   * {escape_markdown(key)}: {escape_markdown(text)}" for key, text in pairs),
    ]


def runs_csv(groups: Sequence[Repetitions]) -> str:
    """A line per configuration and target; scores in percent, not rounded."""
    rows: list[dict[str, Any]] = []
    for number, group in enumerate(groups, start=1):
        places: Sequence[Place | None] = group.places() or [None]
        for place in places:
            name = "" if place is None else str(place)
            rows.append({"run": number, "target": name, **_csv_cells(group, place)})
    text = io.StringIO()
    header = list(dict.fromkeys(key for row in rows for key in row))
    writer = csv.DictWriter(text, header, lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: csv_cell(value) for key, value in row.items()} for row in rows)
    return text.getvalue()


def _csv_cells(group: Repetitions, place: Place | None) -> dict[str, Any]:
    scores = [(None, None)] * len(COLUMNS) if place is None else group.scores(place)
    cells: dict[str, Any] = {}
    for number, ending in enumerate(("", " std")):
        for column, score in zip(COLUMNS, scores, strict=True):
            value = score[number]
            cells[f"{column}{ending}"] = None if value is None else 100 * value
    part = {} if place is None else place.of(group.finished[0])
    return {
        **cells,
        "seeds": group.seeds(),
        "not finished": group.left(),
        **group.environment(),
        "folders": ", ".join(run.folder.as_posix() for run in group.runs),
        **group.scoring(),
        "notes": "; ".join(part.get("notes", [])),
        "data sha256": part.get("fingerprint", ""),
    }


def _quote(word: str) -> str:
    """Quote a word for a shell, with double quotes around lists of names for legibility."""
    plain = "'" in word and not set(word) & set('"$`\\!')
    return f'"{word}"' if plain else shlex.quote(word)


def _hardware(run: Run) -> str:
    processes = run.record.get("processes", 1)
    return run.record["device"] + (f", {processes} processes" if processes > 1 else "")


def _versions(run: Run) -> str:
    packages = {"python": run.record["python"], **run.record["packages"]}
    return ", ".join(f"{name} {version}" for name, version in packages.items())

"""The report of an evaluation: scores per target as numbers, log lines, JSON and a table."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from config.text import printable

if TYPE_CHECKING:  # results are tabulated without torch
    from processor.metrics.ranking import RetrievalMetrics

logger = logging.getLogger(__name__)

RANKS = (1, 5, 10)
BEFORE, TRAINED, AVERAGED = "before training", "trained", "averaged weights"  # models of a run


@dataclass(frozen=True, slots=True)
class TargetResult:
    """Scores on one data set.

    Attributes:
        name: the data set.
        splits: one per split of its protocol.
        notes: remarks about the data set.
        bad_images: number of files that could not be read and were left out.
        fingerprint: hash of the test data.
        names: of the identities of own data, by pid.
        twins: queries of the first split with a match of equal content.
    """

    name: str
    splits: list[RetrievalMetrics]
    notes: tuple[str, ...] = ()
    bad_images: int = 0
    fingerprint: str = ""
    names: Mapping[int, str] = field(default_factory=dict)
    twins: int = 0

    def warnings(self) -> list[str]:
        """Why the scores must not be believed."""
        num_queries = self.splits[0].num_queries
        return [describe_twins(self.twins, num_queries)] if self.twins else []

    def scores(self) -> dict[str, float]:
        """Means over the splits: mAP, mINP, rank1, rank5, rank10; fractions."""
        return {key: float(np.mean(values)) for key, values in self._values().items()}

    def deviations(self) -> dict[str, float]:
        """Standard deviations over the splits (of a population: divided by their number)."""
        return {key: float(np.std(values)) for key, values in self._values().items()}

    def _values(self) -> dict[str, list[float]]:
        ranks = {f"rank{k}": [split.rank(k) for split in self.splits] for k in RANKS}
        return {
            "mAP": [split.mAP for split in self.splits],
            "mINP": [split.mINP for split in self.splits],
            **ranks,
        }


@dataclass(frozen=True, slots=True)
class EvaluationReport:
    """Scores on all targets of a run.

    Attributes:
        targets: one per data set.
        ema: the same of the averaged weights (SOLVER.EMA); None = there are none.
    """

    targets: list[TargetResult]
    ema: EvaluationReport | None = None

    def average(self) -> dict[str, float]:
        """Means over the targets; fractions."""
        scores = [target.scores() for target in self.targets]
        return {key: float(np.mean([s[key] for s in scores])) for key in scores[0]}

    def scalars(self) -> dict[str, float]:
        """Numbers for metrics.jsonl: the average, and `target/score` where there are several."""
        numbers = self.average()
        if len(self.targets) > 1:
            for target in self.targets:
                numbers |= {f"{target.name}/{key}": v for key, v in target.scores().items()}
        if self.ema is not None:
            numbers |= {f"ema/{key}": value for key, value in self.ema.scalars().items()}
        return numbers

    def as_dict(self) -> dict[str, Any]:
        """The content of results.json; fractions."""
        return {
            "targets": {target.name: _target_dict(target) for target in self.targets},
            "average": _nested(self.average()) if self.targets else {},
            **({"ema": self.ema.as_dict()} if self.ema is not None else {}),
        }


def describe_twins(count: int, num_queries: int) -> str:
    """What twins mean and what to do about them."""
    return (
        f"{count:,} of {num_queries:,} queries have a gallery image at distance 0, of equal "
        "content: the scores are too high. Remove these images from query or gallery; run.py "
        "data-check lists equal images"
    )


def _target_dict(target: TargetResult) -> dict[str, Any]:
    first = target.splits[0]
    by_name = {target.names.get(pid, str(pid)): mAP for pid, mAP in first.by_pid.items()}
    return {
        **_nested(target.scores()),
        "std": _nested(target.deviations()) if len(target.splits) > 1 else None,
        "num_queries": first.num_queries,
        "num_valid_queries": first.num_valid_queries,
        "splits": len(target.splits),
        "bad_images": target.bad_images,
        "notes": [*target.notes, *target.warnings()],
        "fingerprint": target.fingerprint,
        **({"mAP_of_identities": by_name} if target.names else {}),
    }


def _nested(scores: dict[str, float]) -> dict[str, Any]:
    cmc = {str(k): scores[f"rank{k}"] for k in RANKS}
    return {"mAP": scores["mAP"], "mINP": scores["mINP"], "cmc": cmc}


def result_lines(target: TargetResult) -> list[str]:
    """CLIP-ReID's lines of a result, which people grep for."""
    scores = target.scores()
    first = target.splits[0]
    dropped = first.num_queries - first.num_valid_queries
    trials = f", mean of {len(target.splits)} splits" if len(target.splits) > 1 else ""
    lines = [f"Validation Results on {target.name}{trials}", f"mAP: {scores['mAP']:.1%}"]
    lines += [f"CMC curve, Rank-{k:<3}:{scores[f'rank{k}']:.1%}" for k in RANKS]
    lines.append(f"mINP: {scores['mINP']:.1%}")
    lines.append(
        f"{first.num_valid_queries} of {first.num_queries} queries counted, {dropped} dropped "
        "(no match in the gallery)"
    )
    if target.bad_images:
        lines.append(f"{target.bad_images} broken images left out")
    return lines


def log_results(report: EvaluationReport, level: int = logging.INFO) -> None:
    """Log the `result_lines` of every target, and warnings unless the level is DEBUG."""
    for target in report.targets:
        for line in result_lines(target):
            logger.log(level, "%s", line)
        for line in target.warnings():
            logger.log(level if level < logging.INFO else logging.WARNING, "%s", line)


def format_table(rows: Sequence[tuple[str, dict[str, Any]]]) -> str:
    """One table of several evaluations on the same targets, grouped by target.

    Args:
        rows: name of the model and its results, as in results.json.
    """
    lines = [["target", "model", "mAP", "Rank-1", "Rank-5", "Rank-10", "mINP", "queries"]]
    for target in rows[0][1]["targets"]:
        for model, results in rows:
            lines.append([target, model, *_cells(results["targets"][target])])
    if len(rows[0][1]["targets"]) > 1:
        lines += [["average", model, *_cells(results["average"])] for model, results in rows]
    lines = [list(map(printable, line)) for line in lines]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = ["  ".join(map(_align, line, widths, range(len(line)))) for line in lines]
    return "\n".join([text[0], "-" * len(text[0]), *text[1:]])


def closing_table(report: EvaluationReport, before: Path) -> str:
    """The trained model's results, below those before training if they are on the same targets."""
    rows = [(TRAINED, report.as_dict())]
    if report.ema is not None:
        rows.append((AVERAGED, report.ema.as_dict()))
    try:
        earlier = json.loads(before.read_text(encoding="utf-8"))
        if list(earlier["targets"]) == [target.name for target in report.targets]:
            return format_table([(BEFORE, earlier), *rows])
    except FileNotFoundError:
        pass  # not evaluated before training
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        logger.warning("%s is damaged and left out of the table: %r", before, error)
    return format_table(rows)


def _cells(scores: dict[str, Any]) -> list[str]:
    counted = ""
    if "num_queries" in scores:
        counted = f"{scores['num_valid_queries']}/{scores['num_queries']}"
    several = scores.get("splits", 1) > 1
    cells = [f"{share:.1%}" for share in score_list(scores)]
    if several:
        counted += f" in {scores['splits']} splits"
        deviations = score_list(scores["std"])
        cells = [f"{a} ± {100 * b:.1f}" for a, b in zip(cells, deviations, strict=True)]
    return [*cells, counted]


def score_list(scores: dict[str, Any]) -> list[float]:
    """mAP, Rank-1, -5, -10 and mINP of an entry of results.json; fractions."""
    return [scores["mAP"], *(scores["cmc"][str(k)] for k in RANKS), scores["mINP"]]


def _align(cell: str, width: int, column: int) -> str:
    return cell.ljust(width) if column < 2 else cell.rjust(width)

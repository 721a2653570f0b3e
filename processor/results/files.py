"""results.json and results.md: scores of an evaluation for programs and for papers."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from processor.results.escaping import escape_markdown
from processor.results.report import AVERAGED, score_list
from processor.runtime.files import write_json, write_text
from processor.runtime.lock import WRITE_SECONDS, locked_folder

logger = logging.getLogger(__name__)

COLUMNS = ("mAP", "Rank-1", "Rank-5", "Rank-10", "mINP")
ENDINGS = ("json", "md")
MAX_NAMED_TARGETS = 4  # in a file name


def save_results(folder: Path, results: dict[str, Any], stem: str = "results") -> Path:
    """Write `STEM.json` and `STEM.md`, each atomically.

    Args:
        folder: an existing folder.
        results: the content of the JSON file.
        stem: of the file names.

    Returns:
        The JSON file.
    """
    path = folder / f"{stem}.json"
    write_json(path, results)
    write_text(folder / f"{stem}.md", to_markdown(results))
    return path


def save_evaluation(folder: Path, results: dict[str, Any]) -> Path:
    """Write the results of an evaluation without replacing others.

    In the folder of a training run, `results.json` is the evaluation of its last epoch and stays:
    later evaluations are called `results_<checkpoint>_on_<targets>.json`. Earlier results of the
    same name get a number: `<name>_1.json`.

    Args:
        folder: an existing folder.
        results: the content of the JSON file.

    Returns:
        The JSON file.
    """
    stem = "results"
    if (folder / "run.json").is_file():
        stem += f"_{Path(results['checkpoint']).stem}_on_{_join_names(results['targets'])}"
    with locked_folder(folder / f".{stem}", "OUTPUT_DIR", wait=WRITE_SECONDS):
        _keep_earlier(folder, stem)
        return save_results(folder, results, stem)


def _join_names(targets: Iterable[str]) -> str:
    names = list(targets)
    return "+".join(names) if len(names) <= MAX_NAMED_TARGETS else f"{len(names)}_targets"


def _keep_earlier(folder: Path, stem: str) -> None:
    """Rename earlier results of a name to the first free number."""
    if not (folder / f"{stem}.json").is_file():
        return
    number = 1
    while (folder / f"{stem}_{number}.json").exists():
        number += 1
    for ending in ENDINGS:
        file = folder / f"{stem}.{ending}"
        if file.is_file():
            file.replace(folder / f"{stem}_{number}.{ending}")
    logger.info("earlier results renamed to %s", folder / f"{stem}_{number}.json")


def to_markdown(results: dict[str, Any]) -> str:
    """A table as in a paper, and below it how the scores were made."""
    lines = [
        f"| target | {' | '.join(COLUMNS)} | splits | queries |",
        "|---" * (len(COLUMNS) + 3) + "|",
    ]
    lines += _rows(results)
    if "ema" in results:
        lines += _rows(results["ema"], f", {AVERAGED}")
    lines.append("")
    facts = [(key, str(value)) for key, value in describe_scoring(results).items() if value]
    facts += [(name, target_remark(target)) for name, target in results["targets"].items()]
    lines += [f"* {escape_markdown(key)}: {escape_markdown(text)}" for key, text in facts]
    return "\n".join(lines) + "\n"


def _rows(results: dict[str, Any], model: str = "") -> list[str]:
    """A line per target and one for their average."""
    lines = []
    for name, target in results["targets"].items():
        cells = [f"{100 * share:.1f}" for share in score_list(target)]
        if target["splits"] > 1:
            deviations = [f"{100 * share:.1f}" for share in score_list(target["std"])]
            cells = [f"{a} ± {b}" for a, b in zip(cells, deviations, strict=True)]
        counted = f"{target['num_valid_queries']}/{target['num_queries']}"
        label = escape_markdown(name) + model
        lines.append(f"| {label} | {' | '.join(cells)} | {target['splits']} | {counted} |")
    average = [f"{100 * share:.1f}" for share in score_list(results["average"])]
    return [*lines, f"| average{model} | {' | '.join(average)} | | |"]


def target_remark(target: dict[str, Any]) -> str:
    """The notes on a target and the hash of its data."""
    return "; ".join([*target["notes"], f"data {target['fingerprint'][:16]}"])


def describe_scoring(results: dict[str, Any]) -> dict[str, Any]:
    """How the scores were made, in words."""
    protocol, training = results["protocol"], results["training"]
    sources = ", ".join(training["sources"]) or "unknown"
    return {
        "published protocol": results.get("published_protocol", ""),
        "checkpoint": results["checkpoint"],
        "trained on": sources + (" (all images)" if training["use_all"] else ""),
        "features": f"{'' if protocol['normalized'] else 'not '}L2-normalized, "
        f"{results['neck_feature']} the neck",
        "number format": results.get("number_format", ""),
        "re-ranking": protocol["rerank"] or "none",
        "queries are": "pooled" if protocol.get("multi_query") else "single images",
        "same-camera junk": "left out" if protocol["ignore_same_camera"] else "kept",
    }

"""results.json, results.csv and results.md: the same numbers for programs, sheets and papers."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from processor.results.report import score_list
from processor.runtime.files import write_json, write_text

COLUMNS = ("mAP", "Rank-1", "Rank-5", "Rank-10", "mINP")


def save_results(folder: Path, results: dict[str, Any]) -> None:
    """Write the three files; each is there as a whole or not at all.

    Args:
        folder: where to.
        results: the content of results.json.
    """
    write_json(folder / "results.json", results)
    write_text(folder / "results.csv", to_csv(results))
    write_text(folder / "results.md", to_markdown(results))


def keep_results(folder: Path) -> None:
    """Rename the results of an earlier evaluation: results_1.json, results_1.csv and so on."""
    if not (folder / "results.json").is_file():
        return
    number = 1
    while (folder / f"results_{number}.json").exists():
        number += 1
    for ending in ("json", "csv", "md"):
        file = folder / f"results.{ending}"
        if file.is_file():
            file.replace(folder / f"results_{number}.{ending}")


def to_csv(results: dict[str, Any]) -> str:
    """A line per target and one for their average; scores in percent, unrounded."""
    text = io.StringIO()
    names = [*COLUMNS, *(f"{column} std" for column in COLUMNS)]
    how = describe_scoring(results)
    header = ["target", *names, "splits", "queries", "valid queries", *how, "notes", "data sha256"]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    for name, target in results["targets"].items():
        scores = [100 * share for share in (*score_list(target), *score_list(target["std"]))]
        counts = (target["splits"], target["num_queries"], target["num_valid_queries"])
        notes = "; ".join(target["notes"])
        writer.writerow([name, *scores, *counts, *how.values(), notes, target["fingerprint"]])
    average = [100 * share for share in score_list(results["average"])]
    blank = [""] * (len(header) - len(average) - 1)
    writer.writerow(["average", *average, *blank])
    return text.getvalue()


def to_markdown(results: dict[str, Any]) -> str:
    """The table of a paper, with what a reader must know below it."""
    lines = [
        f"| target | {' | '.join(COLUMNS)} | splits | queries |",
        "|---" * (len(COLUMNS) + 3) + "|",
    ]
    for name, target in results["targets"].items():
        cells = [f"{100 * share:.1f}" for share in score_list(target)]
        if target["splits"] > 1:
            deviations = [f"{100 * share:.1f}" for share in score_list(target["std"])]
            cells = [f"{a} ± {b}" for a, b in zip(cells, deviations, strict=True)]
        counted = f"{target['num_valid_queries']}/{target['num_queries']}"
        lines.append(f"| {name} | {' | '.join(cells)} | {target['splits']} | {counted} |")
    average = [f"{100 * share:.1f}" for share in score_list(results["average"])]
    lines += [f"| average | {' | '.join(average)} | | |", ""]
    lines += [f"* {key}: {value}" for key, value in describe_scoring(results).items() if value]
    lines += [f"* {name}: {target_remark(x)}" for name, x in results["targets"].items()]
    return "\n".join(lines) + "\n"


def target_remark(target: dict[str, Any]) -> str:
    """What a reader must know of a target: its notes and its data."""
    return "; ".join([*target["notes"], f"data {target['fingerprint'][:16]}"])


def describe_scoring(results: dict[str, Any]) -> dict[str, Any]:
    """How the scores were made, as words."""
    protocol, training = results["protocol"], results["training"]
    sources = ", ".join(training["sources"]) or "unknown"
    return {
        "published protocol": results.get("published_protocol", ""),
        "checkpoint": results["checkpoint"],
        "trained on": sources + (" (all images)" if training["use_all"] else ""),
        "features": f"{'' if protocol['normalized'] else 'not '}L2-normalized, "
        f"{results['neck_feature']} the neck",
        "re-ranking": protocol["rerank"] or "none",
        "queries are": "pooled" if protocol.get("multi_query") else "single images",
        "same-camera junk": "left out" if protocol["ignore_same_camera"] else "kept",
    }

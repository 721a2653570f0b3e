"""Findings of data-check, as records and as text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from config.text import printable
from datasets.records import Sample

ERROR = "error"
WARNING = "warning"
SHOWN = 5  # files or identities per fault; JSON holds all


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of a data set.

    Attributes:
        severity: ERROR = a run stops or is worthless; WARNING = its results suffer.
        kind: a fixed phrase.
        data: name of the data set.
        what: the fault with its numbers, one clause.
        where: all files or identities concerned.
        remedy: how to fix it.
    """

    severity: str
    kind: str
    data: str
    what: str
    where: tuple[str, ...]
    remedy: str


@dataclass(frozen=True, slots=True)
class Findings:
    """All findings.

    Attributes:
        data: the summary of every data set, see `summarize`.
        faults: of all data sets.
    """

    data: list[dict[str, Any]]
    faults: list[Fault]

    @property
    def errors(self) -> int:
        """Number of faults that a run stops on."""
        return sum(fault.severity == ERROR for fault in self.faults)


def format_report(findings: Findings) -> str:
    """The summary of every data set, then the faults, errors first."""
    lines = [line for summary in findings.data for line in _summary_lines(summary)]
    for fault in sorted(findings.faults, key=lambda fault: fault.severity != ERROR):
        lines += _fault_lines(fault)
    warnings = len(findings.faults) - findings.errors
    return "\n".join([*lines, f"errors: {findings.errors}, warnings: {warnings}"])


def _summary_lines(summary: dict[str, Any]) -> Iterator[str]:
    yield printable(summary["name"])
    for part in ("train", "query", "gallery"):
        counts = summary[part]
        yield (
            f"  {part:<8}{counts['ids']:>8,} identities{counts['images']:>10,} images"
            f"{counts['cameras']:>5,} cameras"
        )
    for label, key, unit in (
        ("images of a training identity", "images_per_identity", ""),
        ("height", "height", " pixels"),
        ("width", "width", " pixels"),
    ):
        if summary[key]:
            smallest, middle, largest = summary[key]
            yield f"  {label}: {smallest:,} to {largest:,}{unit}, median {middle:,g}"
    junk = "left out" if summary["ignore_same_camera"] else "kept"
    yield f"  matches from the query's own camera: {junk}"
    for note in summary["notes"]:
        yield f"  {printable(note)}"
    if summary["train"]["images"]:
        yield f"  training data {summary['train_sha256'][:16]}"
    if summary["query"]["images"]:
        yield f"  test data {summary['sha256'][:16]}"


def _fault_lines(fault: Fault) -> Iterator[str]:
    what = printable(fault.what, keep_lines=True)
    yield f"{fault.severity.upper()} {fault.kind}: {printable(fault.data)}: {what}"
    for place in fault.where[:SHOWN]:
        yield f"    {printable(place)}"
    if len(fault.where) > SHOWN:
        yield f"    and {len(fault.where) - SHOWN:,} more"
    if fault.remedy:
        yield f"  -> {fault.remedy}"


def name_identity(sample: Sample) -> str:
    """An identity as text: its name and one of its images."""
    return f"identity {sample.identity} ({sample.path})"


def name_image(sample: Sample) -> str:
    """An image as text."""
    return f"{sample.path} (identity {sample.identity}, camera {sample.camera or 'unknown'})"

"""Published results of the cross-dataset protocols, to read beside one's own.

`published.csv` holds them as printed, in percent. A result compares with others of its protocol
only, and even there the papers differ: in the boxes of CUHK03, the number of splits of the small
targets, the size of the images. What is known of that is in the notes.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

TABLE = Path(__file__).with_name("published.csv")
AVERAGE = "average"

CUHK03_BOXES = {"cuhk03": "detected", "cuhk03_labeled": "labeled"}
"""Both flavours are "CUHK03" in the papers, and one column here."""


@dataclass(frozen=True, slots=True)
class PublishedResult:
    """One cell of a published table.

    Attributes:
        protocol: a value for DATASETS.PROTOCOL.
        method: as its own paper calls it.
        venue: where it appeared; empty if not recorded.
        target: registry name of the data set, `cuhk03` for either flavour; or `average`.
        mAP: percent; None where Rank-1 alone is known.
        rank1: percent.
        source: whose table the numbers are taken from.
        notes: what to know before comparing.
    """

    protocol: str
    method: str
    venue: str
    target: str
    mAP: float | None
    rank1: float
    source: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PublishedRow:
    """One method in one table.

    Attributes:
        method: with its venue, where that is recorded.
        source: whose table it is.
        notes: of all its cells, each once.
        cells: results by target, as the caller named the targets; missing where unpublished.
    """

    method: str
    source: str
    notes: tuple[str, ...]
    cells: dict[str, PublishedResult]


def published_protocols() -> tuple[str, ...]:
    """The protocols with published results: the legal values of DATASETS.PROTOCOL."""
    return tuple(dict.fromkeys(result.protocol for result in _read_table()))


def read_published(protocol: str) -> list[PublishedResult]:
    """All published results of a protocol, table by table.

    Raises:
        ValueError: nothing is published under this name; lists the known ones.
    """
    found = [result for result in _read_table() if result.protocol == protocol]
    if not found:
        raise ValueError(
            f"DATASETS.PROTOCOL: {protocol!r} is none of {', '.join(published_protocols())}"
        )
    return found


def published_rows(protocol: str, targets: Sequence[str]) -> list[PublishedRow]:
    """The methods with a result on at least one of `targets`; raises as `read_published`.

    Args:
        protocol: one of `published_protocols()`.
        targets: registry names, and `average` if wanted.
    """
    tables: dict[tuple[str, str], dict[str, PublishedResult]] = {}
    for result in read_published(protocol):
        tables.setdefault((result.method, result.source), {})[result.target] = result
    rows = []
    for cells in tables.values():
        wanted = {t: cells[_as_published(t)] for t in targets if _as_published(t) in cells}
        if wanted:
            rows.append(_row(wanted))
    return rows


def format_comparison(protocol: str, ours: Mapping[str, tuple[float, float]]) -> str:
    """A table of methods by targets, "mAP/Rank-1" in percent, our run last.

    The average over the targets is a column where the tables have one and our targets are exactly
    theirs: averages over other sets of targets say nothing.

    Args:
        protocol: one of `published_protocols()`.
        ours: (mAP, Rank-1) as fractions by target, in the order of the columns; NaN = no run yet.

    Raises:
        ValueError: as `read_published`.
    """
    rows = published_rows(protocol, list(ours))
    if not rows:
        return f"{protocol}: no published results on {', '.join(ours)}"
    columns = dict(ours)
    if _has_average(protocol, ours):
        mean_aps, rank1s = zip(*ours.values(), strict=True)
        columns[AVERAGE] = (sum(mean_aps) / len(ours), sum(rank1s) / len(ours))
        rows = published_rows(protocol, list(columns))
    lines = [["method", *columns, "table of"]]
    for row in rows:
        results = [_published_cell(row.cells.get(target)) for target in columns]
        lines.append([row.method, *results, "; ".join((row.source, *row.notes))])
    lines.append(["this run", *(_our_cell(*scores) for scores in columns.values()), ""])
    title = f"{protocol}, mAP/Rank-1 in %: published results and this run"
    return "\n".join([title, *_align(lines), *_footnotes(ours)])


def _read_table() -> list[PublishedResult]:
    with TABLE.open(encoding="utf-8", newline="") as file:
        return [_parse(row) for row in csv.DictReader(file)]


def _parse(row: dict[str, str]) -> PublishedResult:
    return PublishedResult(
        protocol=row["protocol"],
        method=row["method"],
        venue=row["venue"],
        target=row["target"],
        mAP=float(row["mAP"]) if row["mAP"] else None,
        rank1=float(row["rank1"]),
        source=row["source"],
        notes=tuple(row["note"].split("; ")) if row["note"] else (),
    )


def _as_published(target: str) -> str:
    return "cuhk03" if target in CUHK03_BOXES else target


def _row(cells: dict[str, PublishedResult]) -> PublishedRow:
    first = next(iter(cells.values()))
    method = f"{first.method} ({first.venue})" if first.venue else first.method
    notes = dict.fromkeys(note for result in cells.values() for note in result.notes)
    return PublishedRow(method, first.source, tuple(notes), cells)


def _has_average(protocol: str, targets: Iterable[str]) -> bool:
    published = {result.target for result in read_published(protocol)}
    same_targets = sorted(map(_as_published, targets)) == sorted(published - {AVERAGE})
    return AVERAGE in published and same_targets


def _published_cell(result: PublishedResult | None) -> str:
    return "-" if result is None else _percent(result.mAP, result.rank1)


def _our_cell(mean_ap: float, rank1: float) -> str:
    return "-" if math.isnan(mean_ap) else _percent(100 * mean_ap, 100 * rank1)


def _percent(mean_ap: float | None, rank1: float) -> str:
    return f"{'-' if mean_ap is None else f'{mean_ap:.1f}'}/{rank1:.1f}"


def _align(lines: Sequence[Sequence[str]]) -> list[str]:
    """Numbers to the right; a rule below the head and above the last line."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = []
    for name, *numbers, source in lines:
        cells = map(str.rjust, numbers, widths[1:])
        text.append("  ".join([name.ljust(widths[0]), *cells, source]).rstrip())
    rule = "-" * max(map(len, text))
    return [text[0], rule, *text[1:-1], rule, text[-1]]


def _footnotes(targets: Iterable[str]) -> list[str]:
    return [
        f"{target}: this run on {CUHK03_BOXES[target]} boxes; published ones where a note says so, "
        "else unknown"
        for target in targets
        if target in CUHK03_BOXES
    ]

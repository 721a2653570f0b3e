"""Published results of the cross-dataset protocols, to read beside one's own.

`published.csv` holds them as printed, in percent. A result compares with others of its protocol
only, and even there the papers differ: in the boxes of CUHK03, the number of splits of the small
targets, the size of the images. What is known of that is in the notes.
"""

from __future__ import annotations

import csv
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


def format_published(protocol: str, targets: Sequence[str]) -> str:
    """A table of methods by targets, "mAP/Rank-1" in percent.

    The average over the targets is a column where the tables have one and the targets are exactly
    theirs: averages over other sets of targets say nothing.

    Args:
        protocol: one of `published_protocols()`.
        targets: registry names, in the order of the columns.

    Raises:
        ValueError: as `read_published`.
    """
    lines = _published_lines(protocol, targets)
    if not lines:
        return _nothing_published(protocol, targets)
    head, rule, *rows = _align(lines)
    title = f"{protocol}, mAP/Rank-1 in %: published results"
    return "\n".join([title, head, rule, *rows, *_footnotes(targets, with_run=False)])


def format_comparison(protocol: str, ours: Mapping[str, tuple[float, float]]) -> str:
    """The table of `format_published` with our run as its last line.

    Args:
        protocol: one of `published_protocols()`.
        ours: (mAP, Rank-1) as fractions by target, in the order of the columns.

    Raises:
        ValueError: as `read_published`.
    """
    targets = list(ours)
    lines = _published_lines(protocol, targets)
    if not lines:
        return _nothing_published(protocol, targets)
    scores = [*ours.values()]
    if _has_average(protocol, targets):
        mean_aps, rank1s = zip(*scores, strict=True)
        scores.append((sum(mean_aps) / len(ours), sum(rank1s) / len(ours)))
    cells = [_percent(100 * mean_ap, 100 * rank1) for mean_ap, rank1 in scores]
    head, rule, *rows, last = _align([*lines, ["this run", *cells, ""]])
    title = f"{protocol}, mAP/Rank-1 in %: published results and this run"
    footnotes = _footnotes(targets, with_run=True)
    return "\n".join([title, head, rule, *rows, rule, last, *footnotes])


def _published_lines(protocol: str, targets: Sequence[str]) -> list[list[str]]:
    """Head and a line per method, as cells; empty where nothing is published on the targets."""
    if not published_rows(protocol, targets):
        return []
    columns = [*targets, *([AVERAGE] if _has_average(protocol, targets) else [])]
    lines = [["method", *columns, "table of"]]
    for row in published_rows(protocol, columns):
        results = [_published_cell(row.cells.get(target)) for target in columns]
        lines.append([row.method, *results, "; ".join((row.source, *row.notes))])
    return lines


def _nothing_published(protocol: str, targets: Sequence[str]) -> str:
    return f"{protocol}: no published results on {', '.join(targets)}"


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


def _percent(mean_ap: float | None, rank1: float) -> str:
    return f"{'-' if mean_ap is None else f'{mean_ap:.1f}'}/{rank1:.1f}"


def _align(lines: Sequence[Sequence[str]]) -> list[str]:
    """Numbers to the right; a rule below the head."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = []
    for name, *numbers, source in lines:
        cells = map(str.rjust, numbers, widths[1:])
        text.append("  ".join([name.ljust(widths[0]), *cells, source]).rstrip())
    rule = "-" * max(map(len, text))
    return [text[0], rule, *text[1:]]


def _footnotes(targets: Iterable[str], *, with_run: bool) -> list[str]:
    """What is known of the boxes of CUHK03."""
    lines = []
    for target in targets:
        if target in CUHK03_BOXES:
            own = f"this run on {CUHK03_BOXES[target]} boxes; " if with_run else ""
            lines.append(f"{target}: {own}published results on those a note names, else unknown")
    return lines

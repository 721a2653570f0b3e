"""Published results, for comparison with a run: cross-dataset protocols and supervised ones.

`published.csv` contains them as printed, in percent, each with the place where it was read. A row
whose target is `average` is the published average over all targets of its protocol; for some
methods only that is known, and they have no other row. Results are comparable only within a
protocol, and even there papers differ: in the boxes of CUHK03, the training lists of MSMT17, the
number of splits of the small targets, the size of the images. The notes give these conditions where
known.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

TABLE = Path(__file__).with_name("published.csv")
AVERAGE = "average"

# both flavours are "CUHK03" in the papers, and one column here
CUHK03_BOXES = {"cuhk03": "detected", "cuhk03_labeled": "labeled"}


@dataclass(frozen=True, slots=True)
class PublishedResult:
    """One cell of a published table.

    Attributes:
        protocol: a value for DATASETS.PROTOCOL.
        method: name in its own paper.
        venue: of the paper; empty if not recorded.
        target: registry name of the data set, `cuhk03` for either flavour; or `average`.
        mAP: percent; None if only Rank-1 is known.
        rank1: percent.
        source: where the numbers were read: the paper whose table they are from, or a page.
        notes: conditions to know before comparing.
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
        method: with its venue, if that is recorded.
        source: the paper or page whose table it is.
        notes: of all its cells, without duplicates.
        cells: results by target, as the caller named the targets; unpublished ones are absent.
    """

    method: str
    source: str
    notes: tuple[str, ...]
    cells: dict[str, PublishedResult]


def published_protocols() -> tuple[str, ...]:
    """The protocols with published results: the values of DATASETS.PROTOCOL."""
    return tuple(dict.fromkeys(result.protocol for result in _read_table()))


def read_published(protocol: str) -> list[PublishedResult]:
    """All published results of a protocol, table by table.

    Raises:
        ValueError: unknown protocol; lists the known ones.
    """
    found = [result for result in _read_table() if result.protocol == protocol]
    if not found:
        raise ValueError(
            f"DATASETS.PROTOCOL: {protocol!r} is not one of {', '.join(published_protocols())}"
        )
    return found


def published_rows(protocol: str, targets: Sequence[str]) -> list[PublishedRow]:
    """The methods with a result on at least one of `targets`; raises as `read_published`.

    Args:
        protocol: one of `published_protocols()`.
        targets: registry names, or `average`.
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


def has_average(protocol: str, targets: Iterable[str]) -> bool:
    """Whether the published tables have an average over exactly these targets."""
    averaged = averaged_targets(protocol)
    return bool(averaged) and sorted(map(_as_published, targets)) == sorted(averaged)


def averaged_targets(protocol: str) -> tuple[str, ...]:
    """The targets that the published averages of a protocol are over; empty without averages."""
    published = dict.fromkeys(result.target for result in read_published(protocol))
    if AVERAGE not in published:
        return ()
    return tuple(target for target in published if target != AVERAGE)


def average_only_rows(protocol: str) -> list[PublishedRow]:
    """The methods of which nothing but the average over the protocol's targets is known."""
    rows = published_rows(protocol, [*averaged_targets(protocol), AVERAGE])
    return [row for row in rows if set(row.cells) == {AVERAGE}]


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

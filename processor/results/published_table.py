"""The table of published results, with or without a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from processor.results.published import (
    AVERAGE,
    CUHK03_BOXES,
    PublishedResult,
    has_average,
    published_rows,
)


def format_published(protocol: str, targets: Sequence[str]) -> str:
    """A table of methods by targets, "mAP/Rank-1" in percent.

    The average over the targets is a column only if the published tables have one over exactly
    these targets: averages over other sets of targets are not comparable.

    Args:
        protocol: one of `published_protocols()`.
        targets: registry names, in the order of the columns.

    Raises:
        ValueError: as `read_published`.
    """
    notes: dict[str, int] = {}
    lines = _published_lines(protocol, targets, notes)
    if not lines:
        return _nothing_published(protocol, targets)
    title = f"{protocol}, mAP/Rank-1 in %: published results"
    return "\n".join([title, *_align(lines), *_footnotes(notes, targets, with_run=False)])


def format_comparison(protocol: str, ours: Mapping[str, tuple[float, float]]) -> str:
    """The table of `format_published` with our run as its last line.

    Args:
        protocol: one of `published_protocols()`.
        ours: (mAP, Rank-1) as fractions by target, in the order of the columns.

    Raises:
        ValueError: as `read_published`.
    """
    targets = list(ours)
    notes: dict[str, int] = {}
    lines = _published_lines(protocol, targets, notes)
    if not lines:
        return _nothing_published(protocol, targets)
    scores = [*ours.values()]
    if has_average(protocol, targets):
        mean_aps, rank1s = zip(*scores, strict=True)
        scores.append((sum(mean_aps) / len(ours), sum(rank1s) / len(ours)))
    cells = [_percent(100 * mean_ap, 100 * rank1) for mean_ap, rank1 in scores]
    head, rule, *rows, last = _align([*lines, ["this run", *cells, ""]])
    title = f"{protocol}, mAP/Rank-1 in %: published results and this run"
    footnotes = _footnotes(notes, targets, with_run=True)
    return "\n".join([title, head, rule, *rows, rule, last, *footnotes])


def _published_lines(
    protocol: str, targets: Sequence[str], notes: dict[str, int]
) -> list[list[str]]:
    """Cells of the head and of a line per method; empty if nothing is published on the targets.

    Args:
        protocol: one of `published_protocols()`.
        targets: registry names.
        notes: gets the notes and their numbers.
    """
    if not published_rows(protocol, targets):
        return []
    columns = [*targets, *([AVERAGE] if has_average(protocol, targets) else [])]
    lines = [["method", *columns, "table of"]]
    for row in published_rows(protocol, columns):
        results = [_published_cell(row.cells.get(target)) for target in columns]
        numbers = [f" [{notes.setdefault(note, len(notes) + 1)}]" for note in row.notes]
        lines.append([row.method, *results, row.source + "".join(numbers)])
    return lines


def _nothing_published(protocol: str, targets: Sequence[str]) -> str:
    return f"{protocol}: no published results on {', '.join(targets)}"


def _published_cell(result: PublishedResult | None) -> str:
    return "-" if result is None else _percent(result.mAP, result.rank1)


def _percent(mean_ap: float | None, rank1: float) -> str:
    return f"{'-' if mean_ap is None else f'{mean_ap:.1f}'}/{rank1:.1f}"


def _align(lines: Sequence[Sequence[str]]) -> list[str]:
    """Align the columns, numbers to the right, with a rule below the head."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = []
    for name, *numbers, source in lines:
        cells = map(str.rjust, numbers, widths[1:])
        text.append("  ".join([name.ljust(widths[0]), *cells, source]).rstrip())
    rule = "-" * max(map(len, text))
    return [text[0], rule, *text[1:]]


def _footnotes(notes: Mapping[str, int], targets: Iterable[str], *, with_run: bool) -> list[str]:
    """The notes by number, and the boxes of CUHK03 as far as they are known."""
    lines = [f"[{number}] {note}" for note, number in notes.items()]
    for target in targets:
        if target in CUHK03_BOXES:
            own = f"this run on {CUHK03_BOXES[target]} boxes; " if with_run else ""
            lines.append(f"{target}: {own}published results on the boxes in the notes, if any")
    return lines

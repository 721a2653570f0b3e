"""The table of published results, with or without a run, the best method first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from processor.results.published import (
    AVERAGE,
    CUHK03_BOXES,
    PublishedRow,
    average_only_rows,
    averaged_targets,
    has_average,
    published_rows,
)

Score = tuple[float | None, float]  # mAP, if it is known, and Rank-1, in percent


@dataclass(frozen=True, slots=True)
class _Line:
    """A method, or our run, in the table.

    Attributes:
        name: of the method, or "this run".
        scores: by column; unpublished ones are absent.
        source: where the numbers were read; empty for our run.
        notes: conditions to know before comparing.
    """

    name: str
    scores: dict[str, Score]
    source: str = ""
    notes: tuple[str, ...] = ()


def format_published(protocol: str, targets: Sequence[str]) -> str:
    """A table of methods by targets, "mAP/Rank-1" in percent, the best method first.

    The average over the targets is a column only if the published tables have one over exactly
    these targets: averages over other sets of targets are not comparable. Methods of which only
    such another average is known are listed below the table.

    Methods are ranked by the average mAP as printed, equal ones by Rank-1. Without the column,
    this is the mean over the targets; methods without a result on one of them follow, unranked.

    Args:
        protocol: one of `published_protocols()`.
        targets: registry names, in the order of the columns.

    Raises:
        ValueError: as `read_published`.
    """
    return _format(protocol, targets, None)


def format_comparison(protocol: str, ours: Mapping[str, tuple[float, float]]) -> str:
    """The table of `format_published` with our run in its place among the methods.

    Args:
        protocol: one of `published_protocols()`.
        ours: (mAP, Rank-1) as fractions by target, in the order of the columns.

    Raises:
        ValueError: as `read_published`.
    """
    return _format(protocol, [*ours], ours)


def _format(
    protocol: str, targets: Sequence[str], ours: Mapping[str, tuple[float, float]] | None
) -> str:
    if not published_rows(protocol, targets):
        return f"{protocol}: no published results on {', '.join(targets)}"
    columns = [*targets, *([AVERAGE] if has_average(protocol, targets) else [])]
    lines = [_published_line(row) for row in published_rows(protocol, columns)]
    if ours is not None:
        lines.append(_our_line(ours))
    decisive = _decisive(protocol, columns)
    ranked, unranked = _rank(lines, decisive)
    notes: dict[str, int] = {}
    names = ["method", *columns, "source"]
    head, *rows = _align([names, *_cells([*ranked, *unranked], columns, notes)])
    rule = "-" * max(map(len, [head, *rows]))
    run = "" if ours is None else " and this run"
    order = "average " if AVERAGE in columns else "mean " if len(decisive) > 1 else ""
    text = [f"{protocol}, mAP/Rank-1 in %: published results{run}, highest {order}mAP first"]
    text += [head, rule, *rows[: len(ranked)]]
    if unranked:
        text += [rule, *rows[len(ranked) :]]
        missing = "the average" if AVERAGE in columns else "the mAP on a target"
        text.append(f"below the second rule: not ranked, because {missing} is not published")
    if AVERAGE not in columns:
        text += _other_averages(protocol, notes)
    return "\n".join([*text, *_footnotes(notes, targets, with_run=ours is not None)])


def _published_line(row: PublishedRow) -> _Line:
    scores = {target: (result.mAP, result.rank1) for target, result in row.cells.items()}
    return _Line(row.method, scores, row.source, row.notes)


def _our_line(ours: Mapping[str, tuple[float, float]]) -> _Line:
    scores = {target: (100 * mean_ap, 100 * rank1) for target, (mean_ap, rank1) in ours.items()}
    mean_aps, rank1s = zip(*scores.values(), strict=True)
    return _Line("this run", {**scores, AVERAGE: (_mean(mean_aps), _mean(rank1s))})


def _decisive(protocol: str, columns: Sequence[str]) -> list[str]:
    """The columns that decide the order: the average, or else the targets together."""
    if AVERAGE in columns:
        return [AVERAGE]
    # nothing is published on the user's own data sets, so they cannot be compared
    return [target for target in columns if published_rows(protocol, [target])]


def _rank(lines: Iterable[_Line], decisive: Sequence[str]) -> tuple[list[_Line], list[_Line]]:
    """The lines with an mAP in all `decisive` columns, best first, and the other ones."""
    keys: list[tuple[tuple[float, float], _Line]] = []
    unranked = []
    for line in lines:
        scores = [line.scores.get(key, (None, 0.0)) for key in decisive]
        mean_aps = [mean_ap for mean_ap, _ in scores if mean_ap is not None]
        if len(mean_aps) < len(decisive):
            unranked.append(line)
            continue
        rank1s = [rank1 for _, rank1 in scores]
        # as printed, so that what looks equal is equal
        key = (round(_mean(mean_aps), 1), round(_mean(rank1s), 1))
        keys.append((key, line))
    keys.sort(key=lambda pair: pair[0], reverse=True)
    return [line for _, line in keys], unranked


def _other_averages(protocol: str, notes: dict[str, int]) -> list[str]:
    """The methods that are not in the table, as only their average over other targets is known."""
    lines, _ = _rank(map(_published_line, average_only_rows(protocol)), [AVERAGE])
    if not lines:
        return []
    title = f"known only as an average over {', '.join(averaged_targets(protocol))}:"
    return [title, *(f"  {row}" for row in _align(_cells(lines, [AVERAGE], notes)))]


def _cells(
    lines: Iterable[_Line], columns: Sequence[str], notes: dict[str, int]
) -> list[list[str]]:
    """The cells of each line as text; `notes` gets the notes that are new, and their numbers."""
    table = []
    for line in lines:
        scores = [_percent(line.scores[key]) if key in line.scores else "-" for key in columns]
        numbers = [f" [{notes.setdefault(note, len(notes) + 1)}]" for note in line.notes]
        table.append([line.name, *scores, line.source + "".join(numbers)])
    return table


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _percent(score: Score) -> str:
    mean_ap, rank1 = score
    return f"{'-' if mean_ap is None else f'{mean_ap:.1f}'}/{rank1:.1f}"


def _align(lines: Sequence[Sequence[str]]) -> list[str]:
    """Align the columns, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = []
    for name, *numbers, source in lines:
        cells = map(str.rjust, numbers, widths[1:])
        text.append("  ".join([name.ljust(widths[0]), *cells, source]).rstrip())
    return text


def _footnotes(notes: Mapping[str, int], targets: Iterable[str], *, with_run: bool) -> list[str]:
    """The notes by number, and the boxes of CUHK03 as far as they are known."""
    lines = [f"[{number}] {note}" for note, number in notes.items()]
    for target in targets:
        if target in CUHK03_BOXES:
            own = f"this run on {CUHK03_BOXES[target]} boxes; " if with_run else ""
            lines.append(f"{target}: {own}published results on the boxes in the notes, if any")
    return lines

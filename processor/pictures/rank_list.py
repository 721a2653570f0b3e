"""Rank lists as one HTML file that needs nothing else: pictures inside, no request to anywhere."""

from __future__ import annotations

import base64
import io
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template

from datasets.records import Sample
from processor.evaluation.target import Retrieval
from processor.metrics.rank_lists import RankEntry, RankList
from processor.pictures.sheet import Tile, read_scaled, write_sheets
from processor.pictures.style import MARKS
from processor.runtime.files import write_text

logger = logging.getLogger(__name__)

TEMPLATE = Path(__file__).with_name("rank_list.html")

ROWS_PER_SHEET = 5
PICTURE_HEIGHT = 192  # pixels
JPEG_QUALITY = 88

ORDERS = {
    "chosen": "as chosen",
    "worst": "worst first",
    "best": "best first",
    "pid": "by identity",
}
RESULTS = {"": "all", "right": "right", "wrong": "wrong", "none": "no match in the gallery"}


def render_page(title: str, facts: Sequence[str], rows: Sequence[RankRow]) -> str:
    """The page as text.

    Args:
        title: heading.
        facts: what a reader must know, a line each; the order of the rows among them.
        rows: queries with what they find; without identities there is nothing to filter by.

    Raises:
        BadImageError: a picture cannot be decoded.
    """
    labelled = any(row.result for row in rows)
    frames = {tile.frame for row in rows for tile in row.tiles}
    used = {frame: mark for frame, mark in MARKS.items() if frame in frames}
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        title=escape(title),
        facts="\n".join(f"<li>{escape(fact)}</li>" for fact in facts),
        colours="\n".join(f".{name} {{ --frame: {mark.colour}; }}" for name, mark in used.items()),
        legend="".join(
            f'<span class="{name}"><b class="badge">{mark.symbol}</b> {mark.meaning}</span>'
            for name, mark in used.items()
        ),
        controls=_controls(rows, with_junk="junk" in used) if labelled else "",
        rows="\n".join(_row(place, row) for place, row in enumerate(rows)),
    )


def _controls(rows: Sequence[RankRow], *, with_junk: bool) -> str:
    """Order, identity, result of the first picture, and whether junk is shown."""
    pids = {"": "all", **{str(pid): str(pid) for pid in sorted({row.pid for row in rows})}}
    present = {row.result for row in rows}
    results = {key: text for key, text in RESULTS.items() if not key or key in present}
    controls = _select("Order", "order", ORDERS)
    controls += _select("Identity", "pid", pids)
    controls += _select("First picture", "result", results)
    if with_junk:
        controls += '<label><input type="checkbox" name="junk" checked> show junk</label>'
    return controls


def _select(label: str, name: str, choices: dict[str, str]) -> str:
    options = "".join(f'<option value="{key}">{text}</option>' for key, text in choices.items())
    return f'<label>{label} <select name="{name}">{options}</select></label>'


def _row(place: int, row: RankRow) -> str:
    score = "" if row.average_precision is None else f"{row.average_precision:.6f}"
    figures = "".join(_figure(tile) for tile in row.tiles)
    return (
        f'<section class="row" data-place="{place}" data-pid="{row.pid}" data-ap="{score}" '
        f'data-result="{row.result}">{figures}</section>'
    )


def _figure(tile: Tile) -> str:
    meaning = MARKS[tile.frame].meaning if tile.frame else "picture"
    text = escape(f"{meaning}: {Path(tile.path).name}", quote=True)
    symbol = MARKS[tile.frame].symbol if tile.frame else ""
    badge = f'<b class="badge">{symbol}</b>' if symbol else ""
    lines = "".join(f"<span>{escape(line)}</span>" for line in tile.caption)
    return (
        f'<figure class="{tile.frame or ""}" title="{escape(tile.path, quote=True)}">'
        f'<div class="picture"><img src="{_data_uri(tile.path)}" alt="{text}">{badge}</div>'
        f"<figcaption>{lines}</figcaption></figure>"
    )


def _data_uri(path: str) -> str:
    stream = io.BytesIO()
    read_scaled(path, PICTURE_HEIGHT).save(stream, "JPEG", quality=JPEG_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def write_lists(stem: Path, title: str, facts: Sequence[str], rows: Sequence[RankRow]) -> None:
    """Write the page and its sheets; sheets of an earlier list of that name go.

    Args:
        stem: the files' path without number and ending.
        title: what is shown and in which order.
        facts: what a reader must know, a line each.
        rows: in that order.
    """
    page = stem.with_name(f"{stem.name}.html")
    write_text(page, render_page(title, facts, rows))
    tiles = [row.tiles for row in rows]
    sheets = write_sheets(stem, tiles, title, rows_per_sheet=ROWS_PER_SHEET)
    logger.info("written: %s, sheets of pictures beside it: %d", page, sheets)


@dataclass(frozen=True, slots=True)
class RankRow:
    """One query and the head of its ranking.

    Attributes:
        tiles: the query first.
        pid: its identity.
        result: what the first picture that counts is: "right", "wrong", or "none" where the gallery
            has no match, so that the query does not count; "" without identities.
        average_precision: of the whole ranking; None without a match or without identities.
    """

    tiles: tuple[Tile, ...]
    pid: int
    result: str
    average_precision: float | None


def rank_row(
    rank_list: RankList, retrieval: Retrieval, *, squared: bool, labelled: bool
) -> RankRow:
    """Frames and captions of a rank list.

    Args:
        rank_list: of a query of the retrieval.
        retrieval: the images.
        squared: the distances are squares, shown as their roots.
        labelled: the images have identities; False frames the query only.
    """
    query = retrieval.query[rank_list.query]
    tiles = [_query_tile(rank_list, query, labelled=labelled)]
    place = 0
    for entry in rank_list.entries:
        place += not entry.junk
        distance = math.sqrt(max(entry.distance, 0)) if squared else entry.distance
        rank = "junk" if entry.junk else str(place)
        sample = retrieval.gallery[entry.index]
        frame = _frame(entry) if labelled else None
        caption = _caption(f"{rank}: {distance:.4f}", sample, labelled=labelled)
        tiles.append(Tile(sample.path, caption, frame))
    if not labelled:
        return RankRow(tuple(tiles), query.pid, "", None)
    result = "none"
    if rank_list.average_precision is not None:
        result = _frame(next(entry for entry in rank_list.entries if not entry.junk))
    return RankRow(tuple(tiles), query.pid, result, rank_list.average_precision)


def _query_tile(rank_list: RankList, query: Sample, *, labelled: bool) -> Tile:
    lines = _caption("query", query, labelled=labelled)
    if labelled:
        score = rank_list.average_precision
        lines += ("no match" if score is None else f"AP {score:.1%}",)
        shown = sum(entry.junk for entry in rank_list.entries)
        if rank_list.num_junk:
            lines += (f"junk {shown} of {rank_list.num_junk}",)
    return Tile(query.path, lines, "query")


def _caption(first: str, sample: Sample, *, labelled: bool) -> tuple[str, ...]:
    ids = (f"pid {sample.pid} camid {sample.camid}",) if labelled else ()
    return (first, *ids, Path(sample.path).name)


def _frame(entry: RankEntry) -> str:
    if entry.junk:
        return "junk"
    return "right" if entry.match else "wrong"

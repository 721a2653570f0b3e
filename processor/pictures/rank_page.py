"""Rank lists as one HTML file that needs nothing else: pictures inside, no request to anywhere."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path
from string import Template

from processor.pictures.palette import MARKS
from processor.pictures.rank_rows import RankRow
from processor.pictures.sheet import Tile, read_scaled

TEMPLATE = Path(__file__).with_name("rank_page.html")
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

"""Rank lists as one HTML file: images embedded, no request to any server."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from statistics import median
from string import Template

from config.text import printable
from datasets.records import natural_order
from processor.pictures.rank_list import RankRow
from processor.pictures.sheet import Tile, read_scaled
from processor.pictures.style import MARKS, Mark

TEMPLATE = Path(__file__).with_name("rank_page.html")

EMBEDDED_HEIGHT = 192  # pixels of an image as it is stored
SHOWN_HEIGHT = 150  # and as it is shown; sharper screens use the rest
NARROWEST = 82  # pixels of a column
JPEG_QUALITY = 88

ORDERS = {
    "listed": "as listed",
    "worst": "worst first",
    "best": "best first",
    "pid": "by identity",
}
RESULTS = {"": "all", "right": "right", "wrong": "wrong", "none": "no match in the gallery"}


@dataclass(frozen=True, slots=True)
class _Embedded:
    """An image for a page: a JPEG as a data URI, and its width when shown."""

    uri: str
    width: float


def render_page(title: str, facts: Sequence[str], rows: Sequence[RankRow]) -> str:
    """The page as text.

    The columns are as wide as the median image, so that ranks stand below each other. Columns that
    do not fit the window continue on the next line; nothing is cut off.

    Args:
        title: heading.
        facts: lines that a reader must know.
        rows: queries with the images found; without identities the page has no filters.

    Raises:
        BadImageError: an image cannot be decoded.
    """
    images = {tile.path: _embed(tile.path) for row in rows for tile in row.tiles}
    labelled = any(row.result for row in rows)
    frames = {tile.frame for row in rows for tile in row.tiles}
    used = {frame: mark for frame, mark in MARKS.items() if frame in frames}
    page = Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        title=escape(title),
        facts="\n".join(f"<li>{escape(fact)}</li>" for fact in facts),
        height=SHOWN_HEIGHT,
        column=max(NARROWEST, round(median(image.width for image in images.values()))),
        colours="\n".join(f".{name} {{ --frame: {mark.colour}; }}" for name, mark in used.items()),
        legend=_legend(used) if len(used) > 1 else "",
        controls=_controls(rows, with_junk="junk" in used) if labelled else "",
        rows="\n".join(_row(place, row, images) for place, row in enumerate(rows)),
    )
    return printable(page, keep_lines=True)


def _legend(used: dict[str, Mark]) -> str:
    return "".join(
        f'<span class="{name}"><b class="badge">{mark.symbol}</b> {mark.meaning}</span>'
        for name, mark in used.items()
    )


def _embed(path: str) -> _Embedded:
    image = read_scaled(path, EMBEDDED_HEIGHT)
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=JPEG_QUALITY)
    text = base64.b64encode(stream.getvalue()).decode("ascii")
    return _Embedded(f"data:image/jpeg;base64,{text}", image.width * SHOWN_HEIGHT / EMBEDDED_HEIGHT)


def _controls(rows: Sequence[RankRow], *, with_junk: bool) -> str:
    """Selectors of order, identity and first result, and a switch for junk."""
    names = sorted({row.identity for row in rows}, key=natural_order)
    identities = {"": "all", **{name: name for name in names}}
    present = {row.result for row in rows}
    results = {key: text for key, text in RESULTS.items() if not key or key in present}
    controls = _select("Order", "order", ORDERS)
    controls += _select("Identity", "pid", identities)
    controls += _select("Rank 1", "result", results)
    if with_junk:
        controls += '<label><input type="checkbox" name="junk" checked> show junk</label>'
    return controls


def _select(label: str, name: str, choices: dict[str, str]) -> str:
    options = "".join(
        f'<option value="{escape(key, quote=True)}">{escape(text)}</option>'
        for key, text in choices.items()
    )
    return f'<label>{label} <select name="{name}">{options}</select></label>'


def _row(place: int, row: RankRow, images: dict[str, _Embedded]) -> str:
    score = "" if row.average_precision is None else f"{row.average_precision:.6f}"
    ranks = "".join(_figure(tile, images) for tile in row.ranks)
    junk = "".join(_figure(tile, images) for tile in row.junk)
    strip = f'<div class="strip">{junk}</div>' if junk else ""
    identity = escape(row.identity, quote=True)
    return (
        f'<section class="row" data-place="{place}" data-pid="{identity}" data-ap="{score}" '
        f'data-result="{row.result}">{_figure(row.query, images)}'
        f'<div class="found"><div class="ranks">{ranks}</div>{strip}</div></section>'
    )


def _figure(tile: Tile, images: dict[str, _Embedded]) -> str:
    meaning = MARKS[tile.frame].meaning if tile.frame else "image"
    text = escape(f"{meaning}: {Path(tile.path).name}", quote=True)
    symbol = MARKS[tile.frame].symbol if tile.frame else ""
    badge = f'<b class="badge">{symbol}</b>' if symbol else ""
    lines = "".join(f"<span>{_breakable(line)}</span>" for line in tile.caption)
    return (
        f'<figure class="{tile.frame or ""}" title="{escape(tile.path, quote=True)}">'
        f'<div class="image"><img src="{images[tile.path].uri}" alt="{text}">{badge}</div>'
        f"<figcaption>{lines}</figcaption></figure>"
    )


def _breakable(line: str) -> str:
    """Escaped text whose file names may break after a separator."""
    return re.sub(r"([_/.])", r"\1<wbr>", escape(line))

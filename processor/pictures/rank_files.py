"""Rank lists as files: the page, and sheets of a few rows each."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from processor.pictures.rank_page import render_page
from processor.pictures.rank_rows import RankRow
from processor.pictures.sheet import draw_sheet
from processor.runtime.run_folder import write_whole

logger = logging.getLogger(__name__)

ROWS_PER_SHEET = 5


def write_lists(stem: Path, title: str, facts: Sequence[str], rows: Sequence[RankRow]) -> None:
    """Write the page and its sheets; sheets of an earlier list of that name go.

    Args:
        stem: the files' path without number and ending.
        title: what is shown and in which order.
        facts: what a reader must know, a line each.
        rows: in that order.
    """
    page = stem.with_name(f"{stem.name}.html")
    write_whole(page, render_page(title, facts, rows))
    for old in stem.parent.glob(f"{stem.name}_[0-9]*.png"):
        old.unlink()
    starts = range(0, len(rows), ROWS_PER_SHEET)
    for number, start in enumerate(starts, start=1):
        part = rows[start : start + ROWS_PER_SHEET]
        which = f" ({start + 1} to {start + len(part)})" if len(starts) > 1 else ""
        sheet = draw_sheet([row.tiles for row in part], title=title + which)
        sheet.save(stem.with_name(f"{stem.name}_{number}.png"))
    logger.info("written: %s, sheets of pictures beside it: %d", page, len(starts))

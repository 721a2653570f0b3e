"""Rank lists as files: the page, and sheets of a few rows each."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from processor.pictures.rank_page import render_page
from processor.pictures.rank_rows import RankRow
from processor.pictures.sheet_files import write_sheets
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
    tiles = [row.tiles for row in rows]
    sheets = write_sheets(stem, tiles, title, rows_per_sheet=ROWS_PER_SHEET)
    logger.info("written: %s, sheets of pictures beside it: %d", page, sheets)

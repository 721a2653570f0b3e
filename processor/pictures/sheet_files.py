"""Many rows of pictures as sheets of a few rows each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from processor.pictures.sheet import Tile, draw_sheet


def write_sheets(
    stem: Path, rows: Sequence[Sequence[Tile]], title: str, *, rows_per_sheet: int
) -> int:
    """Write `STEM_1.png`, `STEM_2.png`, ...; earlier sheets of that name go.

    Args:
        stem: the files' path without number and ending.
        rows: of pictures.
        title: of every sheet; where there are several, the numbers of its rows follow.
        rows_per_sheet: at most.

    Returns:
        How many sheets there are.
    """
    for old in stem.parent.glob(f"{stem.name}_[0-9]*.png"):
        old.unlink()
    starts = range(0, len(rows), rows_per_sheet)
    for number, start in enumerate(starts, start=1):
        part = rows[start : start + rows_per_sheet]
        which = f" ({start + 1} to {start + len(part)})" if len(starts) > 1 else ""
        sheet = draw_sheet(part, title=title + which)
        sheet.save(stem.with_name(f"{stem.name}_{number}.png"))
    return len(starts)

"""Own data in a CSV file."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from datasets.own.entries import SPLITS, Entry, assemble_splits
from datasets.records import DataSplits

CSV_COLUMNS = ("path", "pid", "camid", "viewid", "split")
MISSING_VIEW = -1


def read_csv(file: Path, *, tested_only: bool = False) -> DataSplits:
    """Read a CSV with the header `path,pid` and optionally `camid`, `viewid` and `split`.

    If any camid is empty, all cameras count as unknown; split is given in every row or in none.

    Args:
        file: the CSV.
        tested_only: see `assemble_splits`.

    Raises:
        ValueError: the header or a row is wrong; names file and line.
    """
    lines = read_rows(file)
    missing = [line for line, entry in lines.items() if not entry.split]
    if 0 < len(missing) < len(lines):
        raise _row_error(file, missing[0], "split is empty; give it in every row or in none")
    return assemble_splits(file.stem, list(lines.values()), tested_only=tested_only)


def read_rows(file: Path, required: Sequence[str] = ("path", "pid")) -> dict[int, Entry]:
    """Read the rows of a CSV, keyed by line number; CSV_COLUMNS are the possible columns.

    Paths are relative to the file's folder; pid is any text; camid is 0, 1, ... or empty; an empty
    viewid or -1 is a missing label; split is train, query, gallery (or test) or empty.

    Args:
        file: the CSV.
        required: columns that must exist; path and pid, if required, must not be empty.

    Raises:
        ValueError: the header or a row is wrong; names file and line.
    """
    with file.open(newline="", encoding="utf-8-sig") as stream:
        reader = csv.reader(stream)
        header = [column.strip().lower() for column in next(reader, [])]
        _check_header(file, header, required)
        entries: dict[int, Entry] = {}
        lines: dict[Path, int] = {}
        for row in reader:
            if not any(cell.strip() for cell in row):
                continue
            entry = _parse_row(file, reader.line_num, header, row, required)
            first = lines.setdefault(entry.path, reader.line_num)
            if first != reader.line_num:
                raise _row_error(file, reader.line_num, f"{entry.path} is already on line {first}")
            entries[reader.line_num] = entry
    if not entries:
        raise ValueError(f"{file}: no rows below the header")
    return entries


def _check_header(file: Path, header: list[str], required: Sequence[str]) -> None:
    unknown = [column for column in header if column not in CSV_COLUMNS]
    missing = [column for column in required if column not in header]
    if unknown or missing or len(set(header)) < len(header):
        optional = [f"[,{column}]" for column in CSV_COLUMNS if column not in required]
        raise ValueError(
            f"{file}, line 1: expected the header {','.join(required)}{''.join(optional)}, "
            f"found {','.join(header)!r}"
        )


def _parse_row(
    file: Path, line: int, header: list[str], row: list[str], required: Sequence[str]
) -> Entry:
    if len(row) != len(header):
        raise _row_error(file, line, f"{len(header)} fields expected, {len(row)} found")
    cells = dict(zip(header, (cell.strip() for cell in row), strict=True))
    path = file.parent / cells["path"]
    if not cells["path"] or not path.is_file():
        raise _row_error(file, line, f"no such file: {path}")
    if "pid" in required and not cells["pid"]:
        raise _row_error(file, line, "pid is empty")
    split = cells.get("split", "").lower()
    split = "gallery" if split == "test" else split
    if split not in ("", *SPLITS):
        raise _row_error(file, line, f"split is {split!r}; expected {', '.join(SPLITS)}")
    camera = None
    if cells.get("camid"):
        camera = _parse_number(file, line, cells, "camid", smallest=0)
    viewid = 0
    if "viewid" in cells:
        cells["viewid"] = cells["viewid"] or str(MISSING_VIEW)
        viewid = _parse_number(file, line, cells, "viewid", smallest=MISSING_VIEW)
    return Entry(path, cells.get("pid", ""), camera, viewid, split)


def _parse_number(file: Path, line: int, cells: dict[str, str], column: str, smallest: int) -> int:
    try:
        number = int(cells[column])
    except ValueError:
        number = smallest - 1
    if number < smallest:
        text = f"{column} is {cells[column]!r}; expected a whole number from {smallest}"
        raise _row_error(file, line, text)
    return number


def _row_error(file: Path, line: int, text: str) -> ValueError:
    return ValueError(f"{file}, line {line}: {text}")

"""Own data in a table: a CSV file, or a DataFrame."""

from __future__ import annotations

import csv
import io
import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from config.text import check_text, decode, printable
from datasets.own.entries import SPLITS, Entry, assemble_splits
from datasets.readers.image_files import TABLE_SUFFIXES
from datasets.records import UNKNOWN, DataSplits

logger = logging.getLogger(__name__)

COLUMNS = {
    "path": ("image_path", "image", "file", "filename", "file_name", "filepath"),
    "pid": (
        "identity",
        "identity_id",
        "person_id",
        "individual",
        "individual_id",
        "name",
        "label",
        "id",
    ),
    "camid": ("camera", "camera_id", "cam", "cam_id", "cameraid"),
    "viewid": ("view_id",),
    "split": (),
    "encounter": ("encounter_id", "date"),
}
"""The columns of a table and other names of theirs, of which the first one present is taken."""

SPLIT_NAMES = {**{split: split for split in SPLITS}, "test": "gallery", "both": "both"}
_DATE = re.compile(r"(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})(?=$|[T ])")
_OTHER_DATE = re.compile(  # 31.1.2026, 1/31/26, 31 Jan 2026, January 31, 2026
    r"\b\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4}\b"
    r"|\b(jan(uary)?|feb(ruary)?|mar(ch)?|apr(il)?|may|june?|july?|aug(ust)?|sept?(ember)?"
    r"|oct(ober)?|nov(ember)?|dec(ember)?)\b[\W\d]*\b\d{4}\b",
    re.IGNORECASE,
)
DELIMITERS = ",;\t"
LONGEST_NAME = 255  # characters of an identity, camera or encounter
LARGEST_VIEW = 999  # a model with side information has a row per viewpoint
MISSING = ("None", "nan", "NaT", "<NA>")  # cells without a value, in DataFrames


@runtime_checkable
class DataFrame(Protocol):
    """What is used of a pandas DataFrame."""

    @property
    def columns(self) -> Iterable[Any]: ...

    def itertuples(self, index: bool, name: None) -> Iterable[Sequence[Any]]: ...  # noqa: FBT001


@dataclass(frozen=True, slots=True)
class Table:
    """A table of images.

    Attributes:
        source: as errors name it.
        folder: paths are relative to it.
        top: the place of the header, as errors name it.
        header: names of the columns.
        rows: number of each row, as errors name it, and its cells.
    """

    source: str
    folder: Path
    top: str
    header: Sequence[str]
    rows: Iterable[tuple[str, Sequence[str]]]


def read_csv(file: Path, *, tested_only: bool = False) -> DataSplits:
    """Read a CSV file; see `read_entries` for its columns.

    Args:
        file: the CSV.
        tested_only: see `assemble_splits`.

    Raises:
        ValueError: the header or a row is wrong; names file and line.
    """
    entries = _check_splits(str(file), read_csv_entries(file))
    return assemble_splits(file.stem, entries, tested_only=tested_only)


def read_frame(frame: DataFrame, folder: Path, *, tested_only: bool = False) -> DataSplits:
    """Read a DataFrame, such as a table of wildlife-datasets; raises as `read_csv`.

    Args:
        frame: see `read_entries` for its columns.
        folder: paths are relative to it.
        tested_only: see `assemble_splits`.
    """
    rows = (
        (f"row {number}", list(map(_text, row)))
        for number, row in enumerate(frame.itertuples(index=False, name=None))
    )
    source = "the table"
    table = Table(source, folder, "columns", [str(column) for column in frame.columns], rows)
    entries = _check_splits(source, read_entries(table))
    return assemble_splits("table", entries, tested_only=tested_only)


def _text(cell: Any) -> str:
    """A cell as a CSV file has it; pandas turns numbers with gaps into floats."""
    text = str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell)
    return "" if not isinstance(cell, str) and text in MISSING else text


def is_table(path: Path) -> bool:
    """Whether a path is that of an existing table."""
    is_file = os.path.isfile(path)  # noqa: PTH113 - of any length
    return is_file and path.suffix.lower() in TABLE_SUFFIXES


def read_csv_entries(file: Path, required: Sequence[str] = ("path", "pid")) -> dict[str, Entry]:
    """The rows of a table by line; see `read_entries`.

    Of the characters DELIMITERS, the most frequent one in the first line separates the cells.

    Raises:
        ValueError: see `read_entries`; a cell that is not UTF-8, but a path, which is bytes.
    """
    try:
        text = decode(file.read_bytes())
        delimiter = max(DELIMITERS, key=text.partition("\n")[0].count)
        lines = io.StringIO(text, newline="")
        reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True)
        numbered = _number_lines(str(file), reader)
        header = [check_text(cell, f"{file}, line 1") for cell in next(numbered, ("", []))[1]]
        return read_entries(Table(str(file), file.parent, "line 1", header, numbered), required)
    except UnicodeDecodeError as error:
        raise ValueError(f"{file}: {error}; save it as a CSV file in UTF-8") from error


def _number_lines(source: str, reader: Any) -> Iterator[tuple[str, list[str]]]:
    """The rows of a CSV reader, each with the line that it begins on.

    Raises:
        ValueError: a row cannot be read; names its line.
    """
    while True:
        line = f"line {reader.line_num + 1}"
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise ValueError(
                f"{source}, {line}: {error}; is a quote not closed? Save it as a CSV file in UTF-8"
            ) from error
        if row is None:
            return
        yield line, row


def read_entries(table: Table, required: Sequence[str] = ("path", "pid")) -> dict[str, Entry]:
    """Read the rows of a table, by their numbers.

    COLUMNS lists the columns and their other names; further columns are ignored. Identities,
    cameras and encounters are text: "7" and "007" are two. An empty viewid or -1 is a missing
    label. The split is train, query, gallery (or test), both (query and gallery) or empty.

    Args:
        table: the table.
        required: columns that must exist; path and pid, if required, must not be empty.

    Raises:
        ValueError: the header or a row is wrong; names the table and the row.
    """
    header = [column.strip().lower() for column in table.header]
    columns = _find_columns(table, header, required)
    others = {} if "split" in columns else {header.index(name): name for name in header}
    entries: dict[str, Entry] = {}
    seen: dict[str, str] = {}
    for number, row in table.rows:
        if not any(cell.strip() for cell in row):
            continue
        parser = _Row(f"{table.source}, {number}", table.folder, required)
        if len(row) != len(header):
            raise parser.error(f"{len(header)} fields expected, {len(row)} found")
        others = {i: name for i, name in others.items() if row[i].strip().lower() in SPLIT_NAMES}
        cells = {column: row[place].strip() for column, place in columns.items()}
        parser.check_encoding(cells)
        entry = parser.parse(cells)
        place = os.path.abspath(entry.path)  # noqa: PTH100 - without ".."
        if place in seen:
            raise parser.error(f"{entry.path} is already on {seen[place]}")
        seen[place] = number
        entries[number] = entry
    if not entries:
        raise ValueError(f"{table.source}: no rows below the header")
    for name in others.values():
        logger.warning(
            "%s: the column %s holds words such as train and query, but is not used; name it split "
            "to use it",
            table.source,
            name,
        )
    return entries


def _find_columns(table: Table, header: Sequence[str], required: Sequence[str]) -> dict[str, int]:
    """Place of every column; ignored columns and other names are logged."""
    found: dict[str, str] = {}
    for column, others in COLUMNS.items():
        present = [name for name in (column, *others) if name in header]
        if present:
            found[column] = present[0]
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        raise ValueError(
            f"{table.source}, {table.top}: more than one column is called {', '.join(twice)}"
        )
    missing = [column for column in required if column not in found]
    if missing:
        optional = [f"[,{column}]" for column in COLUMNS if column not in required]
        raise ValueError(
            f"{table.source}, {table.top}: expected the header {','.join(required)}"
            f"{''.join(optional)}, found {','.join(header)!r}"
        )
    renamed = [f"{name} as {column}" for column, name in found.items() if name != column]
    ignored = [name for name in header if name not in found.values()]
    if renamed or ignored:
        remarks = [f"read {', '.join(renamed)}"] if renamed else []
        remarks += [f"ignored {', '.join(ignored)}"] if ignored else []
        logger.info("%s: columns %s", table.source, "; ".join(remarks))
    return {column: header.index(name) for column, name in found.items()}


@dataclass(frozen=True, slots=True)
class _Row:
    """One row to be parsed.

    Attributes:
        place: table and row, as errors name them.
        folder: paths are relative to it.
        required: columns that must not be empty.
    """

    place: str
    folder: Path
    required: Sequence[str]

    def parse(self, cells: Mapping[str, str]) -> Entry:
        """The entry of the row's cells."""
        path = self.folder / cells["path"]
        if not cells["path"] or not os.path.isfile(path):  # noqa: PTH113 - of any length
            raise self.error(f"no such file: {path}")
        for column in ("pid", "camid", "encounter"):
            if len(cells.get(column, "")) > LONGEST_NAME:
                raise self.error(f"{column} has more than {LONGEST_NAME} characters")
        if "pid" in self.required and not cells["pid"]:
            raise self.error("pid is empty; write unknown if nobody knows the identity")
        split = cells.get("split", "").lower()
        if split and split not in SPLIT_NAMES:
            raise self.error(f"split is {split!r}; expected {', '.join(SPLITS)} or both")
        camera = cells.get("camid", "")
        if camera.startswith("-") and camera[1:].isdecimal():
            raise self.error(f"camid is {camera!r}; leave it empty if the camera is unknown")
        return Entry(
            path,
            cells.get("pid", ""),
            camera,
            self._view(cells["viewid"]) if "viewid" in cells else 0,
            SPLIT_NAMES.get(split, ""),
            self._day(cells.get("encounter", "")),
        )

    def check_encoding(self, cells: Mapping[str, str]) -> None:
        """Only the path may hold bytes that are not UTF-8: if a file has such a name."""
        path = cells["path"]
        place = self.folder / path
        foreign = "\0" in path or not os.path.isfile(place)  # noqa: PTH113 - of any length
        for column, text in cells.items():
            if column != "path" or foreign:
                check_text(text, self.place)

    def _day(self, text: str) -> str:
        """An encounter; of a date with a time the date."""
        date = _DATE.match(text)
        if date:
            return f"{date[1]}-{int(date[2]):02}-{int(date[3]):02}"
        if _OTHER_DATE.search(text):
            raise self.error(
                f"encounter is {text!r}; write the date as 2026-01-31, so that it can be ordered"
            )
        return text

    def _view(self, text: str) -> int:
        try:
            number = int(text or UNKNOWN)
        except ValueError:
            number = UNKNOWN - 1
        if not UNKNOWN <= number <= LARGEST_VIEW:
            raise self.error(
                f"viewid is {text[:20]!r}; expected a whole number from {UNKNOWN} to {LARGEST_VIEW}"
            )
        return number

    def error(self, text: str) -> ValueError:
        """An error that names the row."""
        return ValueError(printable(f"{self.place}: {text}"))


def _check_splits(source: str, entries: Mapping[str, Entry]) -> list[Entry]:
    """The entries; raises ValueError if only some rows have a split."""
    missing = [number for number, entry in entries.items() if not entry.split]
    if 0 < len(missing) < len(entries):
        raise ValueError(f"{source}, {missing[0]}: split is empty; give it in every row or in none")
    return list(entries.values())

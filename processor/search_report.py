"""What a search found, as JSON and as sheets of pictures."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from processor.feature_files import StoredFeatures
from processor.pictures.sheet import Tile
from processor.pictures.sheet_files import write_sheets
from processor.runtime.run_folder import write_json
from processor.search import Neighbours

logger = logging.getLogger(__name__)

ROWS_OF_A_SHEET = 10
MOST_SHEETS = 10
NAME = "neighbours"


@dataclass(frozen=True, slots=True)
class Findings:
    """Neighbours with the images they are of.

    Attributes:
        query: features and paths of the queries.
        gallery: of the gallery.
        neighbours: rows of the gallery; -1 = none found.
    """

    query: StoredFeatures
    gallery: StoredFeatures
    neighbours: Neighbours

    def of_query(self, number: int) -> Iterator[tuple[int, float]]:
        """Gallery rows and distances, nearest first."""
        for row, distance in zip(
            self.neighbours.indices[number].tolist(),
            self.neighbours.distances[number].tolist(),
            strict=True,
        ):
            if row >= 0:
                yield row, distance


def write_findings(findings: Findings, folder: Path, how: dict[str, Any]) -> None:
    """Write `neighbours.json` and, of 10 queries each, up to 10 sheets `neighbours_1.png`, ....

    Args:
        findings: what was found.
        folder: made when absent.
        how: what the JSON says of the search besides.
    """
    folder.mkdir(parents=True, exist_ok=True)
    queries = [
        {"query": path, "nearest": list(_describe_neighbours(findings, number))}
        for number, path in enumerate(findings.query.paths)
    ]
    write_json(folder / f"{NAME}.json", {**how, "queries": queries})
    _draw_sheets(findings, folder)


def _draw_sheets(findings: Findings, folder: Path) -> None:
    num_queries = len(findings.query.paths)
    rows = {row for number in range(num_queries) for row, _ in findings.of_query(number)}
    shown = [findings.gallery.paths[row] for row in sorted(rows)]
    missing = [path for path in shown if not Path(path).is_file()]
    if missing:
        logger.warning(
            "no sheet of pictures: %d of them are not there any more, such as %s",
            len(missing),
            missing[0],
        )
        return
    num_shown = min(num_queries, MOST_SHEETS * ROWS_OF_A_SHEET)
    if num_shown < num_queries:
        logger.info("sheets show the first %d queries; %s.json has all", num_shown, NAME)
    title = f"nearest of {len(findings.gallery.paths):,} pictures; rank: Euclidean distance"
    tiles = [_tiles(findings, number) for number in range(num_shown)]
    write_sheets(folder / NAME, tiles, title, rows_per_sheet=ROWS_OF_A_SHEET)


def _describe_neighbours(findings: Findings, number: int) -> Iterator[dict[str, Any]]:
    gallery = findings.gallery
    for rank, (row, distance) in enumerate(findings.of_query(number), start=1):
        ids = {"pid": int(gallery.pids[row]), "camid": int(gallery.camids[row])}
        known = {name: value for name, value in ids.items() if value >= 0}
        yield {
            "rank": rank,
            "path": gallery.paths[row],
            "row": row,
            "distance": round(distance, 6),
            **known,
        }


def _tiles(findings: Findings, number: int) -> list[Tile]:
    path = findings.query.paths[number]
    row_of_tiles = [Tile(path, ("query", Path(path).name), "query")]
    for rank, (row, distance) in enumerate(findings.of_query(number), start=1):
        path = findings.gallery.paths[row]
        row_of_tiles.append(Tile(path, (f"{rank}:  {distance:.3f}", Path(path).name)))
    return row_of_tiles

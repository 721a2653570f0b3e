"""Find the gallery images that are most similar to each query image."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from datasets.image_lists import read_image_lists
from processor.extractor import Extractor
from processor.metrics.normalize import normalize_features
from processor.pictures.sheet import Tile, write_sheets
from processor.pictures.style import name_camera
from processor.runtime.files import write_json
from processor.search.exact import Neighbours, search
from processor.search.extract import SUFFIXES, extract_in_memory, join_lists
from processor.search.faiss_index import search_by_index
from processor.search.feature_file import StoredFeatures, check_same_model, read_features
from processor.tools.command_line import (
    place_output,
)
from processor.tools.extract import open_extractor

logger = logging.getLogger(__name__)


def run(arguments: argparse.Namespace) -> None:
    """Search, and write the neighbours.

    Raises:
        BadImageError, ConfigError, FileNotFoundError, ValueError: see `Extractor`,
            `read_image_lists`, `read_features`, `search` and `search_by_index`.
    """
    extractor = open_extractor(arguments)
    gallery = _read_gallery(extractor, arguments.gallery)
    query = _extract(extractor, arguments.query)
    features = torch.from_numpy(gallery.features)
    if not gallery.record["normalized"]:
        features = normalize_features(features)
    if arguments.index is None:
        neighbours = search(query.features, features, arguments.top)
    else:
        kept = _index_file(arguments.gallery)
        neighbours = search_by_index(query.features, features, arguments.top, arguments.index, kept)
    how = {
        "checkpoint": arguments.checkpoint,
        "gallery": arguments.gallery,
        "gallery_images": len(gallery.paths),
        "index": arguments.index or "none: exact",
        "distance": "Euclidean, between features of length 1",
    }
    output = place_output(arguments.output, arguments.checkpoint, "search")
    write_findings(Findings(query, gallery, neighbours), output, how)
    logger.info(
        "%d queries in %d images, written: %s", len(query.paths), len(gallery.paths), output
    )


def _read_gallery(extractor: Extractor, places: Sequence[str]) -> StoredFeatures:
    file = _features_file(places)
    if file is None:
        return _extract(extractor, places)
    stored = read_features(file)
    wanted = {"model": extractor.description, "checkpoint": extractor.checkpoint}
    check_same_model(file, stored.record, wanted)
    return stored


def _extract(extractor: Extractor, places: Sequence[str]) -> StoredFeatures:
    lists = read_image_lists(places, extractor.cfg.DATASETS.ROOT_DIR)
    images = join_lists(extractor, lists)
    return extract_in_memory(extractor, images, on_bad_image=extractor.cfg.INPUT.ON_BAD_IMAGE)


def _features_file(places: Sequence[str]) -> Path | None:
    """The features file, or None; raises ValueError if other places are given with it."""
    files = [place for place in places if Path(place).suffix in SUFFIXES]
    if files and len(places) > 1:
        raise ValueError(f"--gallery: {files[0]} cannot be searched together with other places")
    return Path(files[0]) if files else None


def _index_file(places: Sequence[str]) -> Path | None:
    """The file of the gallery's index; an index older than the features is removed."""
    features = _features_file(places)
    if features is None:
        return None
    file = features.with_name(f"{features.name}.ivfpq.faiss")
    if file.is_file() and file.stat().st_mtime_ns < features.stat().st_mtime_ns:
        file.unlink()
    return file


ROWS_OF_A_SHEET = 10
MOST_SHEETS = 10
NAME = "neighbours"


@dataclass(frozen=True, slots=True)
class Findings:
    """The neighbours of every query.

    Attributes:
        query: features and paths of the queries.
        gallery: features and paths of the gallery.
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
    """Write `neighbours.json` and up to 10 sheets of 10 queries, `neighbours_1.png`, ....

    Args:
        findings: the neighbours.
        folder: created if absent.
        how: description of the search, for the JSON.
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
            "no sheets: %d images no longer exist, e.g. %s",
            len(missing),
            missing[0],
        )
        return
    num_shown = min(num_queries, MOST_SHEETS * ROWS_OF_A_SHEET)
    if num_shown < num_queries:
        logger.info("sheets show the first %d queries; %s.json has all", num_shown, NAME)
    title = f"Search: the nearest of {len(findings.gallery.paths):,} gallery images"
    notes = [
        "each row: a query, then the gallery images most similar to it, nearest first",
        "distance: Euclidean, between L2-normalized features",
    ]
    tiles = [_tiles(findings, number) for number in range(num_shown)]
    write_sheets(folder / NAME, tiles, title, notes=notes, rows_per_sheet=ROWS_OF_A_SHEET)


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
    """A query and its nearest; the query itself, where the gallery holds it, is framed like it."""
    query, gallery = findings.query, findings.gallery
    tiles = [Tile(query.paths[number], ("query", *_name_image(query, number)), "query")]
    itself = Path(query.paths[number]).resolve()
    for rank, (row, distance) in enumerate(findings.of_query(number), start=1):
        path = gallery.paths[row]
        same = Path(path).resolve() == itself
        marked = ("the query itself",) if same else ()
        caption = (f"rank {rank}", *marked, f"distance {distance:.3f}", *_name_image(gallery, row))
        tiles.append(Tile(path, caption, "query" if same else None))
    return tiles


def _name_image(images: StoredFeatures, row: int) -> tuple[str, ...]:
    """The camera, or the folder where it is unknown, and the file's name."""
    path, camid = Path(images.paths[row]), int(images.camids[row])
    return (name_camera(camid) if camid >= 0 else f"{path.parent.name}/", path.name)

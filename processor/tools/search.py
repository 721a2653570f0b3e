"""Find the gallery images that are most similar to each query image or text."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from config import ConfigError
from datasets.checks.outputs import refuse_inside_data
from datasets.readers.tar_files import is_readable
from datasets.records import Sample
from model import CLIPReID
from model.network_files.embedder import NetworkFile
from processor.checkpoints.network_file import needs_a_checkpoint
from processor.checkpoints.texts import encode_texts
from processor.extractor import Extractor
from processor.metrics.checks import FeatureArray
from processor.metrics.normalize import normalize_features
from processor.pictures.sheet import Tile, write_sheets
from processor.pictures.text import draw_text
from processor.results.threshold import read_threshold
from processor.runtime.files import write_json
from processor.search.exact import Neighbours, search
from processor.search.faiss_index import FaissIndex
from processor.search.feature_rows import FeatureRows
from processor.search.stored_features import StoredFeatures
from processor.tools.command_line import place_folder
from processor.tools.extract import (
    extract_places,
    features_file,
    open_extractor,
    read_or_extract,
)

logger = logging.getLogger(__name__)

ROWS_OF_A_SHEET = 10
MOST_SHEETS = 10
NAME = "neighbours"
TEXT_SIZE, TEXT_WIDTH, TEXT_HEIGHT = 14, 128, 192  # pixels of a text on a sheet


@dataclass(frozen=True, slots=True)
class Findings:
    """The neighbours of every query.

    Attributes:
        queries: images, or texts.
        gallery: features and paths of the gallery.
        neighbours: rows of the gallery; -1 = none found.
    """

    queries: Sequence[Sample | str]
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

    def has_another(self, number: int) -> bool:
        """Whether a query has a neighbour other than itself."""
        own = _path(self.queries[number])
        rows = (row for row, _ in self.of_query(number))
        return any(not is_same_file(self.gallery.samples[row].path, own) for row in rows)


def run(arguments: argparse.Namespace) -> None:
    """Search, and write the neighbours.

    Raises:
        BadImageError, ConfigError, FileNotFoundError, ValueError: see `Extractor`,
            `read_image_lists`, `read_features`, `read_threshold`, `search` and `FaissIndex`.
    """
    output = place_folder(arguments.output, arguments.checkpoint, "search")
    if arguments.text:
        _check_text_options(arguments)
        arguments.opts = [*arguments.opts, "TEST.NECK_FEAT", "before"]  # as CLIP compares them
    extractor = open_extractor(arguments)
    places = [*(arguments.query or ()), *arguments.gallery]
    refuse_inside_data(output, "--output", places, extractor.cfg.DATASETS.ROOT_DIR)
    threshold = None
    if arguments.threshold is not None:
        threshold = read_threshold(arguments.threshold, extractor.description)
    gallery = read_or_extract(extractor, arguments.gallery, "--gallery")
    features: FeatureArray | FeatureRows = gallery.features
    queries: Sequence[Sample | str]
    if arguments.text:
        queries, wanted = arguments.text, _encode(arguments, extractor)
        projected = torch.from_numpy(np.asarray(features))[:, -wanted.shape[1] :]
        features = normalize_features(projected)
    else:
        query = extract_places(extractor, arguments.query)
        queries, wanted = query.samples, torch.from_numpy(np.asarray(query.features))
        if not gallery.record["normalized"]:
            features = normalize_features(torch.from_numpy(np.asarray(features)))
    if arguments.index is None:
        neighbours = search(wanted, features, arguments.top)
    else:
        kept = None if arguments.text else _index_file(arguments.gallery)
        index = FaissIndex(features, arguments.index, kept, gallery.files)
        neighbours = index.search(wanted, arguments.top)
    how = {
        "checkpoint": arguments.checkpoint,
        "gallery": arguments.gallery,
        "gallery_images": len(gallery.samples),
        "index": arguments.index or "none: exact",
        "distance": "Euclidean, between features of length 1",
    }
    if threshold is not None:
        neighbours = neighbours.within(threshold.value)
        how["threshold"] = {"distance": threshold.value, "origin": threshold.origin}
    findings = Findings(queries, gallery, neighbours)
    if threshold is not None:
        found = sum(map(findings.has_another, range(len(queries))))
        total = len(queries)
        logger.info("%d of %d queries have a match other than themselves", found, total)
    write_findings(findings, output, how)
    logger.info("%d queries in %d images, written: %s", len(queries), len(gallery.samples), output)


def _check_text_options(arguments: argparse.Namespace) -> None:
    """Raise ConfigError for options of searches by images."""
    typed = dict(zip(arguments.opts[::2], arguments.opts[1::2], strict=False))
    if typed.get("TEST.NECK_FEAT", "before") != "before":
        raise ConfigError(
            "TEST.NECK_FEAT: texts are compared with the features before the neck; leave it out"
        )
    if arguments.threshold is not None and Path(arguments.threshold).is_file():
        raise ConfigError(
            f"--threshold: {arguments.threshold} is for distances between images, and those of "
            "texts to images are larger; give a number"
        )


def _encode(arguments: argparse.Namespace, extractor: Extractor) -> Tensor:
    """Features of the texts; raises ConfigError if they do not compare with the model's images."""
    if isinstance(extractor.model, NetworkFile):
        raise ConfigError(f"--text: {needs_a_checkpoint(arguments.checkpoint)}")
    if not isinstance(extractor.model, CLIPReID):
        raise ConfigError(f"--text: {arguments.checkpoint} was trained without text (DSGL)")
    return encode_texts(arguments.text, arguments.checkpoint, extractor.cfg, arguments.opts)


def _index_file(places: Sequence[str]) -> Path | None:
    """Where the index of a gallery of stored features is kept."""
    features = features_file(places)
    return None if features is None else features.with_name(f"{features.name}.ivfpq.faiss")


def write_findings(findings: Findings, folder: Path, how: dict[str, Any]) -> None:
    """Write `neighbours.json` and up to 10 sheets of 10 queries, `neighbours_1.png`, ....

    Args:
        findings: the neighbours.
        folder: created if absent.
        how: description of the search, for the JSON.
    """
    queries = [
        {
            **_describe_query(query),
            "nearest": list(_describe_neighbours(findings, number)),
        }
        for number, query in enumerate(findings.queries)
    ]
    write_json(folder / f"{NAME}.json", {**how, "queries": queries})
    _draw_sheets(findings, folder)


def _describe_query(query: Sample | str) -> dict[str, Any]:
    return {"text": query} if isinstance(query, str) else {"query": query.path, **_known(query)}


def _draw_sheets(findings: Findings, folder: Path) -> None:
    num_queries = len(findings.queries)
    rows = {row for number in range(num_queries) for row, _ in findings.of_query(number)}
    shown = [findings.gallery.samples[row].path for row in sorted(rows)]
    missing = [path for path in shown if not is_readable(path)]
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
    title = f"Search: the nearest of {len(findings.gallery.samples):,} gallery images"
    notes = [
        "each row: a query, then the gallery images most similar to it, nearest first",
        "distance: Euclidean, between L2-normalized features",
    ]
    tiles = [_tiles(findings, number) for number in range(num_shown)]
    write_sheets(folder / NAME, tiles, title, notes=notes, rows_per_sheet=ROWS_OF_A_SHEET)


def _describe_neighbours(findings: Findings, number: int) -> Iterator[dict[str, Any]]:
    gallery = findings.gallery
    for rank, (row, distance) in enumerate(findings.of_query(number), start=1):
        sample = gallery.samples[row]
        yield {
            "rank": rank,
            "path": sample.path,
            "row": row,
            "distance": round(distance, 6),
            **_known(sample),
        }


def is_same_file(first: str, second: str) -> bool:
    """Whether two paths, relative or by links, lead to one place."""
    return first == second or Path(first).resolve() == Path(second).resolve()


def _path(query: Sample | str) -> str:
    """The file of a query; empty for a text."""
    return "" if isinstance(query, str) else query.path


def _known(sample: Sample) -> dict[str, int | str]:
    """Numbers and names of identity and camera, where they are known."""
    known: dict[str, int | str] = {}
    if sample.identity:
        known |= {"pid": sample.pid, "name": sample.identity}
    if sample.camera:
        known |= {"camid": sample.camid, "camera": sample.camera}
    return known


def _tiles(findings: Findings, number: int) -> list[Tile]:
    """A query and its nearest; the query itself, where the gallery holds it, is framed like it."""
    query = findings.queries[number]
    if isinstance(query, str):
        drawn = draw_text(query, TEXT_SIZE, TEXT_WIDTH, TEXT_HEIGHT)
        tiles = [Tile("", ("query",), "query", drawn)]
    else:
        tiles = [Tile(query.path, ("query", *_name_image(query)), "query")]
    for rank, (row, distance) in enumerate(findings.of_query(number), start=1):
        sample = findings.gallery.samples[row]
        same = is_same_file(sample.path, _path(query))
        marked = ("the query itself",) if same else ()
        caption = (f"rank {rank}", *marked, f"distance {distance:.3f}", *_name_image(sample))
        tiles.append(Tile(sample.path, caption, "query" if same else None))
    return tiles


def _name_image(sample: Sample) -> tuple[str, ...]:
    """The identity if known, the camera or else the folder, and the file's name."""
    path = Path(sample.path)
    identity = (f"identity {sample.identity}",) if sample.identity else ()
    place = f"camera {sample.camera}" if sample.camera else f"{path.parent.name}/"
    return (*identity, place, path.name)

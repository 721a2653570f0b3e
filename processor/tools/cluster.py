"""Group unlabelled images by identity: DBSCAN on Jaccard distances, as DSGL does."""

from __future__ import annotations

import argparse
import csv
import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from config.text import ERRORS
from datasets.checks.outputs import refuse_inside_data
from datasets.own.entries import UNKNOWN_NAME
from datasets.records import Sample
from processor.clustering import OUTLIER, describe_clusters, group, jaccard_distance
from processor.metrics.normalize import normalize_features
from processor.pictures.sheet import Tile, write_sheets
from processor.runtime.files import atomic_file, write_json
from processor.tools.command_line import place_folder
from processor.tools.extract import open_extractor, read_or_extract

logger = logging.getLogger(__name__)

ROWS_OF_A_SHEET = 10
MOST_ROWS = 100  # clusters on sheets
MOST_IMAGES = 10  # of a cluster on its row


def run(arguments: argparse.Namespace) -> None:
    """Write `clusters.csv` (path, pid), `clusters.json` and sheets of the largest clusters.

    The CSV file is own data: it can be trained on or enrolled. Images in no cluster have the
    identity "unknown" there, which both leave out.

    Raises:
        BadImageError, ConfigError, FileNotFoundError, ValueError: see `Extractor`,
            `read_image_lists`, `jaccard_distance` and `group`.
    """
    output = place_folder(arguments.output, arguments.checkpoint, "clusters")
    extractor = open_extractor(arguments)
    options = extractor.cfg.DSGL
    refuse_inside_data(output, "--output", arguments.images, extractor.cfg.DATASETS.ROOT_DIR)
    stored = read_or_extract(extractor, arguments.images, "IMAGES", by_folder=True)
    features = normalize_features(torch.from_numpy(np.asarray(stored.features)))
    distance = jaccard_distance(features, options.K1, options.K2, max_distance=options.EPS)
    labels = group(distance, options.EPS, options.MIN_SAMPLES)
    identities = known_identities(stored.samples)
    statistics = describe_clusters(labels, identities)
    how = {"eps": options.EPS, "k1": options.K1, "k2": options.K2}
    how["min_samples"] = options.MIN_SAMPLES
    record = {"checkpoint": arguments.checkpoint, **how, **asdict(statistics)}
    write_table(output / "clusters.csv", stored.samples, labels)
    write_json(output / "clusters.json", record)
    draw_clusters(output / "clusters", stored.samples, labels)
    agreement = "" if statistics.ari is None else f"; ARI {statistics.ari:.3f} with the labels"
    logger.info(
        "%d clusters of %d images, %d images in none%s; written: %s",
        statistics.clusters,
        statistics.images - statistics.outliers,
        statistics.outliers,
        agreement,
        output / "clusters.csv",
    )


def known_identities(samples: Sequence[Sample]) -> np.ndarray | None:
    """(N,) numbers of the identities, or None if an image has none, or all share one."""
    pids = np.array([sample.pid for sample in samples])
    known = all(sample.identity for sample in samples)
    return pids if known and len(set(pids.tolist())) > 1 else None


def write_table(path: Path, samples: Sequence[Sample], labels: np.ndarray) -> None:
    """Write path and cluster of every image as a CSV file."""
    with (
        atomic_file(path) as partial,
        partial.open("w", newline="", encoding="utf-8", errors=ERRORS) as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("path", "pid"))
        for sample, label in zip(samples, labels.tolist(), strict=True):
            name = UNKNOWN_NAME if label == OUTLIER else f"cluster {label}"
            writer.writerow((Path(sample.path).resolve(), name))


def draw_clusters(stem: Path, samples: Sequence[Sample], labels: np.ndarray) -> None:
    """Write sheets with a row per cluster, the largest first."""
    sizes = np.bincount(labels[labels != OUTLIER])
    rows = []
    for label in (-sizes).argsort(kind="stable")[:MOST_ROWS].tolist():
        places = np.flatnonzero(labels == label)
        spread = np.linspace(0, len(places) - 1, min(len(places), MOST_IMAGES)).round().astype(int)
        own = [samples[place] for place in places[spread]]
        caption = (f"cluster {label}", f"images: {sizes[label]}")
        tiles = [Tile(sample.path, (Path(sample.path).name,)) for sample in own]
        rows.append([Tile(own[0].path, (*caption, Path(own[0].path).name)), *tiles[1:]])
    title = f"Clusters: {len(sizes):,} in {len(labels):,} images"
    notes = [f"each row: up to {MOST_IMAGES} images of a cluster, evenly spaced in their order"]
    write_sheets(stem, rows, title, notes=notes, rows_per_sheet=ROWS_OF_A_SHEET)

"""Occluded-REID (Zhuo et al., ICME 2018): occluded queries, a gallery of whole bodies."""

from __future__ import annotations

import re
from pathlib import Path

from datasets.readers.benchmark import Benchmark, PublishedSizes
from datasets.readers.layout import Layout, find_tree, match_images
from datasets.records import DataSplits, Sample

QUERY_FOLDERS = ("query", "occluded_body_images")
GALLERY_FOLDERS = ("gallery", "whole_body_images")
EXAMPLE = "001_01.tif (identity, number)"
_FILE_NAME = re.compile(r"/(\d+)_\d+[^/]*$")

LAYOUT = Layout(
    name="occ_reid",
    folders=(
        "Occluded_REID",
        "OccludedREID",
        "Occluded-REID",
        "occluded_reid",
        "occ_reid",
        ".",
    ),
    parts=("|".join(QUERY_FOLDERS), "|".join(GALLERY_FOLDERS)),
    tree="""
Occluded_REID/     (or OccludedREID/ with occluded_body_images/ and whole_body_images/)
  query/           001_01.tif ... or 001/001_01.tif ...
  gallery/         001_01.tif ... or 001/001_01.tif ...
""",
)


def read_occ_reid(root: Path, _split: int = 0) -> DataSplits:
    """Occluded-REID, for testing only: 200 persons, occluded (camera 0) and whole (camera 1).

    File names do not give the camera, so each side counts as one; no match is ever junk.
    """
    tree = find_tree(LAYOUT, root)
    query = _read_images(_find_folder(tree, QUERY_FOLDERS), camid=0)
    gallery = _read_images(_find_folder(tree, GALLERY_FOLDERS), camid=1)
    return DataSplits(LAYOUT.name, [], query, gallery, notes=("for testing only",))


def _find_folder(tree: Path, names: tuple[str, ...]) -> Path:
    return next(tree / name for name in names if (tree / name).exists())


def _read_images(folder: Path, camid: int) -> list[Sample]:
    images = match_images(LAYOUT.name, folder, _FILE_NAME, EXAMPLE)
    return [Sample(str(path), int(match[1]), camid) for path, match in images]


BENCHMARK = Benchmark(read_occ_reid, sizes=PublishedSizes(query_ids=(200,)))

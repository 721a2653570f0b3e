"""CUHK02 (Li and Wang, CVPR 2013): 1,816 pedestrians under five pairs of cameras."""

from __future__ import annotations

import re
from pathlib import Path

from datasets.readers.benchmark import Benchmark, PublishedSizes
from datasets.readers.layout import Layout, find_tree, match_images
from datasets.records import DataSplits, Sample

PAIRS = range(1, 6)
TEST_PAIR = 5
SIDES = ("cam1", "cam2")
EXAMPLE = "001_01.png (the first field is the identity within its pair of cameras)"
NOTES = (
    "camera pairs P1 to P4 are for training, P5 for testing: cam1 is the query, cam2 the gallery",
    "overlaps CUHK01: do not train on one and test on the other",
)
_FILE_NAME = re.compile(r"/(\d{1,4})_[^/]*$")

LAYOUT = Layout(
    name="cuhk02",
    folders=("cuhk02", "cuhk02/Dataset", "CUHK02", "CUHK02/Dataset", "Dataset", "."),
    parts=tuple(f"P{pair}/{side}" for pair in PAIRS for side in SIDES),
    tree="""
cuhk02/         (or cuhk02/Dataset/)
  P1/cam1/      001_01.png ...
  P1/cam2/      001_01.png ...
  P2/ ... P5/   likewise
""",
)


def read_cuhk02(root: Path, _split: int = 0) -> DataSplits:
    """CUHK02: 10 cameras; pid = 10,000 x pair + number, because every pair counts from 1."""
    tree = find_tree(LAYOUT, root)
    train = [
        sample
        for pair in PAIRS
        if pair != TEST_PAIR
        for side in SIDES
        for sample in _read_side(tree, pair, side)
    ]
    query, gallery = (_read_side(tree, TEST_PAIR, side) for side in SIDES)
    return DataSplits(LAYOUT.name, train, query, gallery, notes=NOTES)


def _read_side(tree: Path, pair: int, side: str) -> list[Sample]:
    folder = tree / f"P{pair}" / side
    camid = 2 * (pair - 1) + SIDES.index(side)
    return [
        Sample(str(path), 10_000 * pair + int(match[1]), camid)
        for path, match in match_images(LAYOUT.name, folder, _FILE_NAME, EXAMPLE)
    ]


BENCHMARK = Benchmark(read_cuhk02, sizes=PublishedSizes(train_ids=(1_577,), query_ids=(239,)))

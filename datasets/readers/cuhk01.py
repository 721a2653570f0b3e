"""CUHK01 (Li et al., ACCV 2012): 971 pedestrians in two views, two images each."""

from __future__ import annotations

import re
from pathlib import Path

from datasets.readers.benchmark import Benchmark, PublishedSizes
from datasets.readers.layout import Layout, find_tree, match_images
from datasets.records import DataSplits, Sample

EXAMPLE = "0001001.png (four digits identity, then image 1-4: 1 and 2 are view a, 3 and 4 view b)"
NOTES = (
    "for training only: all images are training images",
    "overlaps CUHK02: do not train on one and test on the other",
)
_FILE_NAME = re.compile(r"/(\d{4})(0?00[1-4])\.\w+$")

LAYOUT = Layout(
    name="cuhk01",
    folders=("cuhk01", "CUHK01", "."),
    parts=("campus",),
    tree="""
cuhk01/
  campus/  0001001.png 0001002.png 0001003.png 0001004.png 0002001.png ...
""",
)


def read_cuhk01(root: Path, _split: int = 0) -> DataSplits:
    """CUHK01: 2 cameras; every image is a training image."""
    folder = find_tree(LAYOUT, root) / "campus"
    train = [
        Sample(str(path), pid=int(match[1]), camid=(int(match[2]) - 1) // 2)
        for path, match in match_images(LAYOUT.name, folder, _FILE_NAME, EXAMPLE)
    ]
    return DataSplits(LAYOUT.name, train, [], [], notes=NOTES)


BENCHMARK = Benchmark(
    read_cuhk01,
    people="cuhk02",
    sizes=PublishedSizes(train_ids=(971,), train_images=(3_884,)),
)

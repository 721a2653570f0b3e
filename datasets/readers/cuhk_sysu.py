"""CUHK-SYSU (Xiao et al., CVPR 2017): the persons cropped from a person-search data set."""

from __future__ import annotations

import re
from pathlib import Path

from datasets.readers.benchmark import Benchmark, PublishedSizes
from datasets.readers.layout import Layout, find_tree, match_images
from datasets.readers.market1501 import JUNK_PID
from datasets.records import DataSplits, Sample

IMAGE_FOLDERS = ("cropped_images", "cropped_image", "bounding_box_train")
EXAMPLE = "p1_s1_1.jpg, p00001_n01_s00001_hard0.png or 00001_c1_1.jpg (the identity comes first)"
NOTES = (
    "for training only: all images are training images",
    "cameras unknown: every image has camera 0",
)
_FILE_NAME = re.compile(r"/(?:p(-?\d+)_(?:n\d+_)?s\d|(-?\d+)_c\d)[^/]*$")

LAYOUT = Layout(
    name="cuhk_sysu",
    folders=("cuhksysu", "cuhk_sysu", "CUHK-SYSU", "CUHK_SYSU", "cuhk-sysu", "."),
    parts=("|".join(IMAGE_FOLDERS),),
    tree="""
cuhksysu/                (or cuhk_sysu/, CUHK-SYSU/)
  cropped_images/        p1_s1_1.jpg ...
    or cropped_image/        p00001_n01_s00001_hard0.png ...
    or bounding_box_train/   00001_c1_1.jpg ...
""",
)


def read_cuhk_sysu(root: Path, _split: int = 0) -> DataSplits:
    """CUHK-SYSU: training images only, cameras unknown, about 2.9 images per identity."""
    tree = find_tree(LAYOUT, root)
    folder = next(tree / part for part in IMAGE_FOLDERS if (tree / part).exists())
    matches = match_images(LAYOUT.name, folder, _FILE_NAME, EXAMPLE)
    samples = [Sample(str(path), int(match[1] or match[2]), camid=0) for path, match in matches]
    train = [sample for sample in samples if sample.pid != JUNK_PID]
    return DataSplits(LAYOUT.name, train, [], [], notes=NOTES)


BENCHMARK = Benchmark(
    read_cuhk_sysu, sizes=PublishedSizes(train_ids=(11_934,), train_images=(34_574,))
)

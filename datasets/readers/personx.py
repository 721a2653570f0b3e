"""PersonX (Sun and Zheng, CVPR 2019): rendered persons under six cameras."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from datasets.readers.benchmark import Benchmark, PublishedSizes
from datasets.readers.layout import Layout, find_tree
from datasets.readers.market1501 import SPLIT_FOLDERS, read_named_images
from datasets.records import DataSplits, Sample

CAMERAS = (3, 4, 8, 10, 11, 12)
"""The cameras of subset 1, as numbered in file names, from 1."""

LAYOUT = Layout(
    name="personx",
    folders=("personx/subset1", "PersonX/subset1", "subset1", "personx", "PersonX", "."),
    parts=SPLIT_FOLDERS,
    tree="""
personx/subset1/
  bounding_box_train/  0001_c3_0001.jpg ...
  query/               0002_c4_0001.jpg ...
  bounding_box_test/   0002_c12_0001.jpg ...
""",
)


def read_personx(root: Path, _split: int = 0) -> DataSplits:
    """PersonX, subset 1: cameras 3, 4, 8, 10, 11 and 12 become 0..5; no distractors."""
    tree = find_tree(LAYOUT, root)
    train, query, gallery = (_read_images(tree / folder) for folder in SPLIT_FOLDERS)
    return DataSplits(LAYOUT.name, train, query, gallery)


def _read_images(folder: Path) -> list[Sample]:
    return [_number_camera(sample) for sample in read_named_images(LAYOUT.name, folder)]


def _number_camera(sample: Sample) -> Sample:
    camera = sample.camid + 1
    if camera not in CAMERAS:
        raise ValueError(
            f"data set {LAYOUT.name}: cannot read {sample.path}: camera {camera} is not in "
            f"subset 1; expected one of {', '.join(map(str, CAMERAS))}"
        )
    return replace(sample, camid=CAMERAS.index(camera))


BENCHMARK = Benchmark(
    read_personx,
    sizes=PublishedSizes(
        train_ids=(410,),
        train_images=(9_840,),
        query_ids=(856,),
        query_images=(5_136,),
        gallery_images=(30_816,),
    ),
)

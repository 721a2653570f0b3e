"""Market-1501 (Zheng et al., ICCV 2015), and the layout that other data sets share with it."""

from __future__ import annotations

import re
from pathlib import Path

from datasets.readers.benchmark import Benchmark, PublishedSizes
from datasets.readers.layout import Layout, find_tree, list_images, no_images
from datasets.records import DataSplits, Sample

SPLIT_FOLDERS = ("bounding_box_train", "query", "bounding_box_test")
JUNK_PID = -1
BACKGROUND_PID = 0
EXAMPLE = "0002_c1s1_000451_03.jpg (identity, camera counted from 1)"
_FILE_NAME = re.compile(r"(-?\d+)_c0*([1-9]\d*)")

LAYOUT = Layout(
    name="market1501",
    folders=(
        "Market-1501-v15.09.15",
        "market1501/Market-1501-v15.09.15",
        "Market-1501",
        "Market1501",
        "market1501",
        "market-1501",
        ".",
    ),
    parts=SPLIT_FOLDERS,
    tree="""
Market-1501-v15.09.15/
  bounding_box_train/  0002_c1s1_000451_03.jpg ...
  query/               0001_c1s1_001051_00.jpg ...
  bounding_box_test/   0000_c1s1_000151_01.jpg ...
""",
)


def read_market1501(root: Path, _split: int = 0) -> DataSplits:
    """Market-1501: 6 cameras; identity -1 is junk and left out, identity 0 a distractor."""
    return read_market_tree(LAYOUT.name, find_tree(LAYOUT, root))


def read_market_tree(name: str, tree: Path, notes: tuple[str, ...] = ()) -> DataSplits:
    """A folder in the Market-1501 layout: bounding_box_train, query, bounding_box_test.

    Distractors count in the gallery only.
    """
    train, query, gallery = (read_named_images(name, tree / folder) for folder in SPLIT_FOLDERS)
    train, query = ([x for x in part if x.pid != BACKGROUND_PID] for part in (train, query))
    return DataSplits(
        name, train, query, gallery, notes=notes, distractors=frozenset([BACKGROUND_PID])
    )


def read_named_images(name: str, folder: Path) -> list[Sample]:
    """The images of a folder, named `<identity>_c<camera>...`, without junk.

    Raises:
        FileNotFoundError: the folder holds no image.
        ValueError: an image's name has another form.
    """
    images = list_images(folder)
    if not images:
        raise no_images(name, folder, f"files like {EXAMPLE}")
    samples = [_parse_name(name, path) for path in images]
    return [sample for sample in samples if sample.pid != JUNK_PID]


def _parse_name(name: str, path: Path) -> Sample:
    pid, camera = parse_file_name(name, path)
    return Sample(str(path), pid=int(pid), camid=int(camera) - 1)


def parse_file_name(name: str, path: Path) -> tuple[str, str]:
    """Identity, as written, and camera, counted from 1; raises ValueError for another form."""
    match = _FILE_NAME.match(path.name)
    if match is None:
        raise ValueError(f"data set {name}: cannot read {path}: expected a name like {EXAMPLE}")
    return match[1], match[2]


BENCHMARK = Benchmark(
    read_market1501,
    sizes=PublishedSizes(
        train_ids=(751,),
        train_images=(12_936,),
        query_ids=(750,),
        query_images=(3_368,),
        gallery_images=(15_913,),
    ),
    deviations={
        ("gallery_images", 13_115): "the 2,798 distractors (identity 0) are missing",
        ("gallery_images", 515_913): "the 500k distractors are in bounding_box_test",
    },
)

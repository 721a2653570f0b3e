"""P-DukeMTMC-reID (Zhuo et al., ICME 2018): DukeMTMC with a split by occlusion."""

from __future__ import annotations

import re
from pathlib import Path

from datasets.readers.benchmark import Benchmark, PublishedSizes
from datasets.readers.dukemtmc import WITHDRAWN
from datasets.readers.layout import Layout, find_tree, match_images
from datasets.records import DataSplits, Sample

EXAMPLE = "0001/0001_c2_f0046182.jpg (folder: identity; c1-c8: camera)"
_PATH = re.compile(r"/(\d+)/(?:[^/]*?[^/A-Za-z])??c([1-8])(?!\d)[^/]*$")

LAYOUT = Layout(
    name="p_dukemtmc",
    folders=(
        "P-DukeMTMC-reid",
        "p_dukemtmc/P-DukeMTMC-reid",
        "P-DukeMTMC-reID",
        "P-DukeMTMC",
        "p-dukemtmc-reid",
        "p_dukemtmc",
        ".",
    ),
    parts=("train", "test/occluded_body_images", "test/whole_body_images"),
    tree="""
P-DukeMTMC-reid/
  train/                       0001/0001_c2_f0046182.jpg ...
                               (or occluded_body_images/0001/... and whole_body_images/0001/...)
  test/occluded_body_images/   0005/0005_c2_f0046985.jpg ...
  test/whole_body_images/      0005/0005_c1_f0044158.jpg ...
""",
)


def read_p_dukemtmc(root: Path, _split: int = 0) -> DataSplits:
    """P-DukeMTMC-reID: 8 cameras, occluded queries, whole-body gallery, a folder per identity.

    Training and test share no person: a folder name in both stands for two persons.
    """
    tree = find_tree(LAYOUT, root)
    train, query, gallery = (_read_images(tree / part) for part in LAYOUT.parts)
    return DataSplits(
        LAYOUT.name, train, query, gallery, notes=(WITHDRAWN,), separate_test_ids=True
    )


def _read_images(folder: Path) -> list[Sample]:
    images = match_images(LAYOUT.name, folder, _PATH, EXAMPLE)
    return [Sample(str(path), int(match[1]), int(match[2]) - 1) for path, match in images]


BENCHMARK = Benchmark(
    read_p_dukemtmc,
    people="dukemtmc",
    sizes=PublishedSizes(
        train_ids=(665,), train_images=(12_927,), query_ids=(634,), query_images=(2_163,)
    ),
)

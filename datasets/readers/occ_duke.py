"""Occluded-Duke (Miao et al., ICCV 2019): DukeMTMC-reID with a split by occlusion."""

from __future__ import annotations

from pathlib import Path

from datasets.readers.benchmark import Benchmark, PublishedSizes
from datasets.readers.dukemtmc import WITHDRAWN
from datasets.readers.layout import Layout, find_tree
from datasets.readers.market1501 import SPLIT_FOLDERS, read_market_tree
from datasets.records import DataSplits

LAYOUT = Layout(
    name="occ_duke",
    folders=(
        "dukemtmcreid/Occluded_Duke",
        "Occluded_Duke",
        "Occluded-Duke",
        "Occluded-DukeMTMC-reID",
        "occluded_duke",
        "occ_duke",
        ".",
    ),
    parts=SPLIT_FOLDERS,
    tree="""
Occluded_Duke/
  bounding_box_train/  0001_c2_f0046182.jpg ...
  query/               0005_c2_f0046985.jpg ...
  bounding_box_test/   0002_c1_f0044158.jpg ...
""",
)


def read_occ_duke(root: Path, _split: int = 0) -> DataSplits:
    """Occluded-Duke: 8 cameras, occluded queries; files are named as in DukeMTMC-reID."""
    return read_market_tree(LAYOUT.name, find_tree(LAYOUT, root), notes=(WITHDRAWN,))


BENCHMARK = Benchmark(
    read_occ_duke,
    family="dukemtmc",
    sizes=PublishedSizes(
        train_ids=(702,),
        train_images=(15_618,),
        query_ids=(519,),
        query_images=(2_210,),
        gallery_images=(17_661,),
    ),
)

"""DukeMTMC-reID (Ristani et al., ECCVW 2016; Zheng et al., ICCV 2017)."""

from __future__ import annotations

from pathlib import Path

from datasets.readers.benchmark import Benchmark, PublishedSizes
from datasets.readers.layout import Layout, find_tree
from datasets.readers.market1501 import SPLIT_FOLDERS, read_market_tree
from datasets.records import DataSplits

WITHDRAWN = "the authors of DukeMTMC have withdrawn the data set"

LAYOUT = Layout(
    name="dukemtmc",
    folders=(
        "dukemtmcreid/DukeMTMC-reID",
        "DukeMTMC-reID",
        "dukemtmc-reid/DukeMTMC-reID",
        "dukemtmc/DukeMTMC-reID",
        "dukemtmc-reid",
        "dukemtmcreid",
        "dukemtmc",
        ".",
    ),
    parts=SPLIT_FOLDERS,
    tree="""
dukemtmcreid/DukeMTMC-reID/
  bounding_box_train/  0001_c2_f0046182.jpg ...
  query/               0005_c2_f0046985.jpg ...
  bounding_box_test/   0002_c1_f0044158.jpg ...
""",
)


def read_dukemtmc(root: Path, _split: int = 0) -> DataSplits:
    """DukeMTMC-reID: 8 cameras; gallery identities without a query act as distractors."""
    return read_market_tree(LAYOUT.name, find_tree(LAYOUT, root), notes=(WITHDRAWN,))


BENCHMARK = Benchmark(
    read_dukemtmc,
    sizes=PublishedSizes(
        train_ids=(702,),
        train_images=(16_522,),
        query_ids=(702,),
        query_images=(2_228,),
        gallery_images=(17_661,),
    ),
)

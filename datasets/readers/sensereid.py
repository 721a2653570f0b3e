"""SenseReID (Zhao et al., CVPR 2017): for testing only."""

from __future__ import annotations

import re
from pathlib import Path

from datasets.readers.benchmark import Benchmark, PublishedSizes
from datasets.readers.layout import Layout, find_tree, match_images
from datasets.records import DataSplits, Sample

QUERY_FOLDERS = ("test_probe", "test_prob")
EXAMPLE = "00001_0.jpg (identity, camera)"
_FILE_NAME = re.compile(r"/(\d+)_(\d+)\.[^/]*$")

LAYOUT = Layout(
    name="sensereid",
    folders=("SenseReID", "sensereid/SenseReID", "sensereid", "."),
    parts=("|".join(QUERY_FOLDERS), "test_gallery"),
    tree="""
SenseReID/
  test_probe/     00001_0.jpg ...   (or test_prob/)
  test_gallery/   00001_1.jpg ...
""",
)


def read_sensereid(root: Path, _split: int = 0) -> DataSplits:
    """SenseReID, for testing only: cameras are numbered as in the file names.

    Gallery persons without a query act as distractors.
    """
    tree = find_tree(LAYOUT, root)
    probe = next(tree / name for name in QUERY_FOLDERS if (tree / name).exists())
    query, gallery = (_read_images(folder) for folder in (probe, tree / "test_gallery"))
    return DataSplits(LAYOUT.name, [], query, gallery, notes=("for testing only",))


def _read_images(folder: Path) -> list[Sample]:
    images = match_images(LAYOUT.name, folder, _FILE_NAME, EXAMPLE)
    return [Sample(str(path), int(match[1]), int(match[2])) for path, match in images]


BENCHMARK = Benchmark(
    read_sensereid,
    sizes=PublishedSizes(query_ids=(522,), query_images=(1_040,), gallery_images=(3_388, 3_338)),
)

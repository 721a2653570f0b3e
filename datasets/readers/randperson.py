"""RandPerson (Wang et al., ACM MM 2020): rendered persons, for training only."""

from __future__ import annotations

import re
from pathlib import Path

from datasets.readers.benchmark import Benchmark, PublishedSizes
from datasets.readers.layout import Layout, find_tree, match_images
from datasets.records import DataSplits, Sample

FOLDER = "randperson_subset"
FIRST_CAMERAS = (0, 2, 4, 6, 8, 9, 10, 12, 13, 14, 15)
"""The first camera of scenes 0..10."""
NUM_CAMERAS = 19
EXAMPLE = "0000_s00_c00_f000000.jpg (identity, scene 0-10, camera counted from 0, frame)"
_FILE_NAME = re.compile(r"/(\d+)_s(\d+)_c(\d+)_f\d+[^/]*$")

LAYOUT = Layout(
    name="randperson",
    folders=("randperson_subset", "RandPerson", "randperson", "."),
    parts=(FOLDER,),
    tree="""
randperson_subset/   0000_s00_c00_f000000.jpg ...
""",
)


def read_randperson(root: Path, _split: int = 0) -> DataSplits:
    """RandPerson's published subset: 19 cameras in 11 scenes.

    Scenes and their cameras are counted from 0: the last camera, s10 and c03, becomes camid 18.
    """
    folder = find_tree(LAYOUT, root) / FOLDER
    images = match_images(LAYOUT.name, folder, _FILE_NAME, EXAMPLE)
    train = [_parse_name(path, *map(int, match.groups())) for path, match in images]
    return DataSplits(LAYOUT.name, train, [], [], notes=("for training only",))


def _parse_name(path: Path, pid: int, scene: int, camera: int) -> Sample:
    """A camera number beyond its scene's would merge with the next scene: an error."""
    ends = (*FIRST_CAMERAS[1:], NUM_CAMERAS)
    if scene >= len(ends) or FIRST_CAMERAS[scene] + camera >= ends[scene]:
        raise ValueError(
            f"data set {LAYOUT.name}: cannot read {path}: scene {scene} has no camera {camera}; "
            f"expected a name like {EXAMPLE}"
        )
    return Sample(str(path), pid, FIRST_CAMERAS[scene] + camera)


BENCHMARK = Benchmark(read_randperson, sizes=PublishedSizes(train_ids=(8_000,)))

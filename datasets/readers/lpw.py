"""LPW, Labeled Pedestrian in the Wild (Song et al., AAAI 2018): three scenes, for training only."""

from __future__ import annotations

import re
from pathlib import Path

from datasets.readers.benchmark import Benchmark, PublishedSizes
from datasets.readers.layout import Layout, find_tree, match_images
from datasets.records import DataSplits, Sample

SCENES = ("scen1", "scen2", "scen3")
SCENE_STEP = 100_000
"""Identity 17 of scene 2 becomes 200017, because every scene counts its own persons."""
EXAMPLE = "scen1/view1/17/0001.jpg (scene, camera and identity within the scene)"
_PATH = re.compile(r"/scen([1-3])/view(\d+)/(\d{1,5})/[^/]+$")

LAYOUT = Layout(
    name="lpw",
    folders=(
        "pep_256x128/data_slim",
        "lpw/pep_256x128/data_slim",
        "LPW/pep_256x128/data_slim",
        "lpw",
        "LPW",
        ".",
    ),
    parts=SCENES,
    tree="""
pep_256x128/data_slim/
  scen1/   view1/17/0001.jpg ...   (view: camera; folder: identity)
  scen2/   view1/17/0001.jpg ...
  scen3/   view1/17/0001.jpg ...
""",
)


def read_lpw(root: Path, _split: int = 0) -> DataSplits:
    """LPW: scenes share the numbers of identities and cameras, but not the identities or cameras.

    Cameras are numbered 0, 1, ... by scene, then view.
    """
    tree = find_tree(LAYOUT, root)
    images = [
        (path, int(match[1]), int(match[2]), int(match[3]))
        for scene in SCENES
        for path, match in match_images(LAYOUT.name, tree / scene, _PATH, EXAMPLE)
    ]
    views = sorted({(scene, view) for _, scene, view, _ in images})
    camid_of = {view: camid for camid, view in enumerate(views)}
    train = [
        Sample(str(path), scene * SCENE_STEP + pid, camid_of[scene, view])
        for path, scene, view, pid in images
    ]
    return DataSplits(LAYOUT.name, train, [], [], notes=("for training only",))


BENCHMARK = Benchmark(
    read_lpw,
    sizes=PublishedSizes(train_ids=(2_731,), train_images=(30_678,)),
    deviations={("train_images", 592_438): "the full set, not the slim one"},
)

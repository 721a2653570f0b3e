"""VeRi-776 (Liu et al., ECCV 2016): vehicles under 20 cameras."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from config.text import read_text
from datasets.readers.benchmark import Benchmark, PublishedSizes
from datasets.readers.layout import Layout, find_tree
from datasets.readers.market1501 import read_named_images
from datasets.records import DataSplits, Sample

MISSING_VIEW = -1
NUM_VIEWS = 8
VIEW_FILES = ("keypoint_train.txt", "keypoint_test.txt")

LAYOUT = Layout(
    name="veri",
    folders=("VeRi", "veri/VeRi", "VeRi-776", "VeRi776", "VeRi_776", "veri776", "veri", "."),
    parts=("image_train", "image_query", "image_test"),
    tree="""
VeRi/
  image_train/  0001_c001_00016450_0.jpg ...
  image_query/  0002_c002_00030600_0.jpg ...
  image_test/   0002_c001_00028150_0.jpg ...
  keypoint_train.txt, keypoint_test.txt   (optional; the last field of a line is the viewpoint 0-7)
""",
)


def read_veri(root: Path, _split: int = 0) -> DataSplits:
    """VeRi-776: 20 cameras, and viewpoints if there is an annotation file.

    With an annotation file, images that it does not name are kept with viewpoint -1. Without one,
    all viewpoints are 0.
    """
    tree = find_tree(LAYOUT, root)
    views = _read_views(tree, root)
    train, query, gallery = (
        _set_views(read_named_images(LAYOUT.name, tree / part), views) for part in LAYOUT.parts
    )
    return DataSplits(LAYOUT.name, train, query, gallery, notes=_describe_views(train, views))


def _read_views(tree: Path, root: Path) -> dict[str, int]:
    """File name -> viewpoint, from the annotation files in the tree or else in the data root."""
    views: dict[str, int] = {}
    for name in VIEW_FILES:
        found = next((folder / name for folder in (tree, root) if (folder / name).is_file()), None)
        if found is not None:
            views.update(_parse_views(found))
    return views


def _parse_views(path: Path) -> dict[str, int]:
    views = {}
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        fields = line.split()
        if not fields:
            continue
        if len(fields) < 2 or not fields[-1].isdecimal() or int(fields[-1]) >= NUM_VIEWS:
            raise ValueError(
                f"{path}, line {number}: expected an image path first and a viewpoint "
                f"0-{NUM_VIEWS - 1} last, found {line!r}"
            )
        views[fields[0].replace("\\", "/").rpartition("/")[2]] = int(fields[-1])
    return views


def _set_views(samples: list[Sample], views: dict[str, int]) -> list[Sample]:
    if not views:
        return samples
    return [
        replace(sample, viewid=views.get(Path(sample.path).name, MISSING_VIEW))
        for sample in samples
    ]


def _describe_views(train: list[Sample], views: dict[str, int]) -> tuple[str, ...]:
    if not views:
        return ("no viewpoint labels",)
    labelled = sum(sample.viewid != MISSING_VIEW for sample in train)
    return (f"viewpoint labels for {labelled:,} of {len(train):,} training images",)


BENCHMARK = Benchmark(
    read_veri,
    noun="vehicle",
    sizes=PublishedSizes(
        train_ids=(575, 576),
        train_images=(37_778,),
        query_ids=(200,),
        query_images=(1_678,),
        gallery_images=(11_579,),
    ),
    deviations={("train_images", 37_746): "a copy without the images that lack a viewpoint label"},
)

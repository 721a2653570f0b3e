"""PKU VehicleID (Liu et al., CVPR 2016): vehicles without camera labels, ten random trials."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random

from datasets.readers.benchmark import Benchmark, PublishedSizes
from datasets.readers.layout import Layout, find_tree, no_images, read_id_list
from datasets.records import DataSplits, Sample

NUM_TRIALS = 10
FOLDERS = ("VehicleID_V1.0", "vehicleid/VehicleID_V1.0", "VehicleID", "vehicleid", ".")
TREE = """
VehicleID_V1.0/
  image/              0000001.jpg ...
  train_test_split/   train_list.txt, {test_list}; lines "image identity"
"""


def read_vehicleid(root: Path, split: int = 0, *, size: int = 800) -> DataSplits:
    """One trial of VehicleID: one random image per test identity is the gallery.

    All other test images are queries. Cameras are unknown: queries have camid 0 and gallery images
    camid 1, so no match is ever junk.

    Args:
        root: the data root.
        split: trial 0..9; the draw depends only on this number and the list.
        size: number of test identities, 800, 1600 or 2400.
    """
    name = "VehicleID" if size == 800 else f"VehicleID_{size}"
    test_list = f"test_list_{size}.txt"
    parts = ("image", "train_test_split/train_list.txt", f"train_test_split/{test_list}")
    tree = find_tree(Layout(name, FOLDERS, parts, TREE.format(test_list=test_list)), root)
    train, test = (_read_images(name, tree, part) for part in parts[1:])
    query, gallery = draw_trial(test, split)
    rule = "one random image per identity is in the gallery, the others are queries"
    note = f"{NUM_TRIALS} trials: {rule}"
    return DataSplits(name, train, query, gallery, ignore_same_camera=False, notes=(note,))


def draw_trial(samples: Iterable[Sample], trial: int) -> tuple[list[Sample], list[Sample]]:
    """Queries and gallery of a trial; the order of `samples` does not matter."""
    rng = Random(trial)
    images: defaultdict[int, list[Sample]] = defaultdict(list)
    for sample in sorted(samples, key=lambda sample: (sample.pid, sample.path)):
        images[sample.pid].append(sample)
    query, gallery = [], []
    for group in images.values():
        # only random() gives the same numbers in every Python version
        drawn = int(rng.random() * len(group))
        gallery.append(replace(group[drawn], camid=1))
        query += group[:drawn] + group[drawn + 1 :]
    return query, gallery


def _read_images(name: str, tree: Path, list_file: str) -> list[Sample]:
    entries = read_id_list(tree / list_file)
    folder = tree / "image"
    samples = [
        Sample(str(folder / (image if image.lower().endswith(".jpg") else f"{image}.jpg")), pid, 0)
        for image, pid in entries
    ]
    if not samples or not Path(samples[0].path).is_file():
        raise no_images(name, folder, f"the images named in {tree / list_file}, as 0000001.jpg")
    return samples


def _describe(size: int, query_images: int) -> Benchmark:
    """The record with a test set of `size` identities; some have no second image to query with."""
    return Benchmark(
        partial(read_vehicleid, size=size),
        NUM_TRIALS,
        family="VehicleID",
        trains_apart_from_tests=True,
        noun="vehicle",
        sizes=PublishedSizes(
            train_ids=(13_164,),
            train_images=(113_346, 110_178),
            query_images=(query_images,),
            gallery_images=(size,),
        ),
        deviations={("query_images", size): "query and gallery swapped"},
    )


SMALL, MEDIUM, LARGE = _describe(800, 5_693), _describe(1600, 11_777), _describe(2400, 17_377)

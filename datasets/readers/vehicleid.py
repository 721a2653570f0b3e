"""PKU VehicleID (Liu et al., CVPR 2016): vehicles, no camera labels, ten random test trials."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from random import Random

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
    """One trial of VehicleID: of each test identity one random image is the gallery.

    All other test images are queries. There are no cameras: queries have camid 0 and the gallery
    camid 1, so that no match is ever junk.

    Args:
        root: the data root.
        split: trial 0..9; the draw depends on this number and the list only.
        size: number of test identities, 800, 1600 or 2400.
    """
    name = "VehicleID" if size == 800 else f"VehicleID_{size}"
    test_list = f"test_list_{size}.txt"
    parts = ("image", "train_test_split/train_list.txt", f"train_test_split/{test_list}")
    tree = find_tree(Layout(name, FOLDERS, parts, TREE.format(test_list=test_list)), root)
    train, test = (_read_images(name, tree, part) for part in parts[1:])
    query, gallery = draw_trial(test, split)
    rule = "one random image per identity is the gallery, the others are queries"
    note = f"{NUM_TRIALS} trials: {rule}"
    return DataSplits(name, train, query, gallery, ignore_same_camera=False, notes=(note,))


def draw_trial(samples: Iterable[Sample], trial: int) -> tuple[list[Sample], list[Sample]]:
    """Queries and gallery of a trial; the order of `samples` has no influence."""
    rng = Random(trial)
    images: defaultdict[int, list[Sample]] = defaultdict(list)
    for sample in sorted(samples, key=lambda sample: (sample.pid, sample.path)):
        images[sample.pid].append(sample)
    query, gallery = [], []
    for group in images.values():
        drawn = int(rng.random() * len(group))  # random() alone is the same on every Python version
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

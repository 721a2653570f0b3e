"""VERI-Wild (Lou et al., CVPR 2019): vehicles under 174 cameras, three test sets."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

from datasets.readers.benchmark import Benchmark, PublishedSizes
from datasets.readers.layout import Layout, find_tree, no_images
from datasets.records import DataSplits, Sample

SIZES = {3000: "small", 5000: "medium", 10000: "large"}
FOLDERS = ("VERI-Wild", "VeRI-Wild", "VeRi-Wild", "veri_wild/VERI-Wild", "veri_wild", ".")
TREE = """
VERI-Wild/
  images/             00001/000001.jpg ...   (folder: vehicle)
  train_test_split/   vehicle_info.txt, lines "00001/000001;camera;..." below a header
                      train_list.txt, test_{size}_query.txt, test_{size}.txt, lines "00001/000001"
"""
_IMAGE = re.compile(r"(\d+)/[^/;\s]+?(?:\.jpg)?")


def read_veri_wild(root: Path, _split: int = 0, *, size: int = 3000) -> DataSplits:
    """VERI-Wild: cameras from vehicle_info.txt, numbered 0, 1, ... in ascending order.

    Args:
        root: the data root.
        _split: ignored, there is one split.
        size: number of test identities, 3000, 5000 or 10000.
    """
    name = "veri_wild" if size == 3000 else f"veri_wild_{size}"
    lists = ("vehicle_info", "train_list", f"test_{size}_query", f"test_{size}")
    parts = ("images", *(f"train_test_split/{file}.txt" for file in lists))
    tree = find_tree(Layout(name, FOLDERS, parts, TREE.format(size=size)), root)
    cameras = _read_cameras(tree / parts[1])
    train, query, gallery = (_read_images(name, tree, part, cameras) for part in parts[2:])
    note = f"{SIZES[size]} test set of {size:,} identities"
    return DataSplits(name, train, query, gallery, notes=(note,))


def _read_cameras(path: Path) -> dict[str, int]:
    """The camera of every image, keyed by "vehicle/image"."""
    numbers = {}
    for number, line in _read_lines(path):
        image, _, others = line.partition(";")
        camera = others.partition(";")[0].strip()
        if number == 1 and not camera.isdecimal():
            continue  # the header
        if not camera.isdecimal():
            raise ValueError(f"{path}, line {number}: expected 'image;camera;...', found {line!r}")
        numbers[image.strip().removesuffix(".jpg")] = int(camera)
    camid_of = {camera: camid for camid, camera in enumerate(sorted(set(numbers.values())))}
    return {image: camid_of[camera] for image, camera in numbers.items()}


def _read_images(name: str, tree: Path, part: str, cameras: dict[str, int]) -> list[Sample]:
    samples = []
    for number, line in _read_lines(tree / part):
        match = _IMAGE.fullmatch(line)
        if match is None:
            raise ValueError(
                f"{tree / part}, line {number}: expected '00001/000001', found {line!r}"
            )
        image = line.removesuffix(".jpg")
        if image not in cameras:
            raise ValueError(f"{tree / part}, line {number}: {image} is not in vehicle_info.txt")
        path = tree / "images" / f"{image}.jpg"
        samples.append(Sample(str(path), int(match[1]), cameras[image]))
    if not samples or not Path(samples[0].path).is_file():
        raise no_images(name, tree / "images", f"the images named in {tree / part}")
    return samples


def _read_lines(path: Path) -> list[tuple[int, str]]:
    """Line number and text; the names of car models are not always valid UTF-8."""
    lines = path.read_text(encoding="utf-8-sig", errors="replace").split("\n")
    return [(number, line.strip()) for number, line in enumerate(lines, start=1) if line.strip()]


def _describe(size: int) -> Benchmark:
    """The record with a test set of `size` identities."""
    return Benchmark(
        partial(read_veri_wild, size=size),
        family="veri_wild",
        trains_apart_from_tests=True,
        noun="person",  # as CLIP-ReID, which knows VeRi-776 and VehicleID only
        sizes=PublishedSizes(train_ids=(30_671,), train_images=(277_797,), query_ids=(size,)),
    )


SMALL, MEDIUM, LARGE = map(_describe, SIZES)

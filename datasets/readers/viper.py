"""VIPeR (Gray et al., PETS 2007): 632 persons, one image from each of two cameras."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from datasets.readers.frozen_splits import FROZEN, NUM_SPLITS, describe_splits, load_splits
from datasets.readers.layout import Layout, find_any_tree, list_images, match_images, no_images
from datasets.records import DataSplits, Sample

NAME = "viper"
NUM_PAIRS = len(FROZEN[NAME].identities)
EXAMPLE = "0012_a.bmp (identity, then anything)"
_LEADING_NUMBER = re.compile(r"/(\d+)[^/]*$")

LAYOUT = Layout(
    name=NAME,
    folders=("VIPeR", "viper/VIPeR", "viper", "."),
    parts=("cam_a", "cam_b"),
    tree="""
VIPeR/
  cam_a/  000_45.bmp ...   (632 images; both folders in the same order)
  cam_b/  000_45.bmp ...
""",
)


def read_viper(root: Path, split: int = 0) -> DataSplits:
    """One split of VIPeR: 316 persons train, 316 are searched for from camera a in camera b.

    The identity of an image is its position in its folder. A tree that comes divided
    (`split_1a` .. `split_10a`) keeps its own splits, and is used where the two folders are not
    there.
    """
    layout, tree = find_any_tree((LAYOUT, _split_layout(split)), root)
    if layout is not LAYOUT:
        return _read_split_folders(tree, layout.parts)
    views = [_read_view(tree / folder, camid) for camid, folder in enumerate(LAYOUT.parts)]
    _check_pairs(tree, *map(len, views))
    test = set(load_splits(NAME)[split])
    return DataSplits(
        NAME,
        train=[sample for view in views for sample in view if sample.pid not in test],
        query=[sample for sample in views[0] if sample.pid in test],
        gallery=[sample for sample in views[1] if sample.pid in test],
        notes=(describe_splits(NAME),),
    )


def _read_view(folder: Path, camid: int) -> list[Sample]:
    images = list_images(folder)
    if not images:
        raise no_images(NAME, folder, f"{NUM_PAIRS} files like 000_45.bmp")
    return [Sample(str(path), pid, camid) for pid, path in enumerate(images)]


def _check_pairs(tree: Path, first: int, second: int) -> None:
    """One missing image would shift the identities of all that follow."""
    if first == second == NUM_PAIRS:
        return
    raise ValueError(
        f"data set {NAME}: {first} images in {tree / 'cam_a'}, {second} in {tree / 'cam_b'}; "
        f"expected {NUM_PAIRS} in both, since an image's position is its identity. "
        "Is the copy complete?"
    )


def _split_layout(split: int) -> Layout:
    return Layout(
        name=NAME,
        folders=("viper", "VIPeR", "viper/VIPeR", "."),
        parts=tuple(f"split_{split + 1}a/{part}" for part in ("train", "query", "gallery")),
        tree=f"""
viper/
  split_1a/ .. split_{NUM_SPLITS}a/
    train/    {EXAMPLE}
    query/    0012_a.bmp ...
    gallery/  0012_b.bmp ...
""",
    )


def _read_split_folders(tree: Path, parts: tuple[str, ...]) -> DataSplits:
    """A split that comes as folders; the number in front of a file's name is the identity.

    The names need not tell the camera: queries have camid 0, the gallery has 1, and the training
    images of a person are numbered in the order of their names.
    """
    train, query, gallery = (_read_pids(tree / part) for part in parts)
    unmatched = set(query.values()) - set(gallery.values())
    if unmatched:
        raise ValueError(
            f"data set {NAME}: identity {min(unmatched)} is in {tree / parts[1]} but not in "
            f"{tree / parts[2]}; expected names like {EXAMPLE}"
        )
    seen: Counter[int] = Counter()
    training = []
    for path, pid in train.items():
        training.append(Sample(path, pid, camid=seen[pid]))
        seen[pid] += 1
    return DataSplits(
        NAME,
        training,
        [Sample(path, pid, camid=0) for path, pid in query.items()],
        [Sample(path, pid, camid=1) for path, pid in gallery.items()],
        notes=(
            f"{NUM_SPLITS} splits as the folders divide them, not the frozen ones",
            "camid of training images: order of the names, the folders do not tell the camera",
        ),
    )


def _read_pids(folder: Path) -> dict[str, int]:
    """Path -> identity."""
    images = match_images(NAME, folder, _LEADING_NUMBER, EXAMPLE)
    return {str(path): int(match[1]) for path, match in images}

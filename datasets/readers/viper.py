"""VIPeR (Gray et al., PETS 2007): 632 persons, one image from each of two cameras."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from datasets.readers.benchmark import Benchmark, PublishedSizes
from datasets.readers.frozen_splits import NUM_SPLITS, FrozenSplits
from datasets.readers.layout import Layout, find_any_tree, list_images, match_images, no_images
from datasets.records import DataSplits, Sample

NAME = "viper"
NUM_PAIRS = 632
EXAMPLE = "0012_a.bmp (identity, then anything)"
_LEADING_NUMBER = re.compile(r"/(\d+)[^/]*$")

# Identities are positions among the sorted files of a camera, from 0.
FROZEN = FrozenSplits(
    NAME,
    range(NUM_PAIRS),
    num_test=316,
    sha256="ede75d7d9c17fe3aa2bf7cce68e77c2483fae5ad7c85ed86d60a2cc3b6cbf5e5",
)

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
    """One split of VIPeR: 316 training and 316 test persons, queries from camera a.

    An image's identity is its position in its folder. Without the two camera folders, a tree that
    is already divided (`split_1a` .. `split_10a`) is read, with its own splits.
    """
    layout, tree = find_any_tree((LAYOUT, _split_layout(split)), root)
    if layout is not LAYOUT:
        return _read_split_folders(tree, layout.parts)
    views = [_read_view(tree / folder, camid) for camid, folder in enumerate(LAYOUT.parts)]
    _check_pairs(tree, *map(len, views))
    test = set(FROZEN.load()[split])
    return DataSplits(
        NAME,
        train=[sample for view in views for sample in view if sample.pid not in test],
        query=[sample for sample in views[0] if sample.pid in test],
        gallery=[sample for sample in views[1] if sample.pid in test],
        notes=(FROZEN.note,),
    )


def _read_view(folder: Path, camid: int) -> list[Sample]:
    images = list_images(folder)
    if not images:
        raise no_images(NAME, folder, f"{NUM_PAIRS} files like 000_45.bmp")
    return [Sample(str(path), pid, camid) for pid, path in enumerate(images)]


def _check_pairs(tree: Path, first: int, second: int) -> None:
    """A missing image would shift all later identities."""
    if first == second == NUM_PAIRS:
        return
    raise ValueError(
        f"data set {NAME}: {first} images in {tree / 'cam_a'}, {second} in {tree / 'cam_b'}; "
        f"expected {NUM_PAIRS} in both, because an image's position is its identity. "
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
    """A split that comes as folders; file names begin with the identity.

    File names need not give the camera: queries have camid 0, gallery images 1, and the training
    images of a person 0, 1, ... by name.
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
            f"the {NUM_SPLITS} splits of the folders, not the frozen ones",
            "camids of training images follow the order of file names: the cameras are unknown",
        ),
    )


def _read_pids(folder: Path) -> dict[str, int]:
    """Path -> identity."""
    images = match_images(NAME, folder, _LEADING_NUMBER, EXAMPLE)
    return {str(path): int(match[1]) for path, match in images}


BENCHMARK = Benchmark(
    read_viper,
    NUM_SPLITS,
    sizes=PublishedSizes(
        train_ids=(316,),
        train_images=(632,),
        query_ids=(316,),
        query_images=(316,),
        gallery_images=(316,),
    ),
)

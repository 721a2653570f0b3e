"""MSMT17 (Wei et al., CVPR 2018), version 1 and version 2 (faces blurred)."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from datasets.readers.benchmark import Benchmark, PublishedSizes
from datasets.readers.layout import Layout, find_any_tree, find_tree, no_images, read_id_list
from datasets.readers.market1501 import SPLIT_FOLDERS, read_named_images
from datasets.records import DataSplits, Sample

logger = logging.getLogger(__name__)

IMAGE_FOLDERS = {1: ("train", "test"), 2: ("mask_train_v2", "mask_test_v2")}
VERSION_NOTES = {1: "MSMT17 version 1", 2: "MSMT17 version 2 (faces blurred)"}
UNKNOWN_VERSION = "MSMT17 version unknown: the folder name has neither V1 nor V2"
EXAMPLE = "0000/0000_000_01_0303morning_0008_0.jpg (third field: camera counted from 1)"

FOLDERS = (
    "MSMT17",
    "MSMT17_V1",
    "msmt17/MSMT17_V1",
    "msmt17",
    "MSMT17_V2",
    "msmt17/MSMT17_V2",
    ".",
)

LAYOUT = Layout(
    name="msmt17",
    folders=FOLDERS,
    parts=(
        "train|mask_train_v2",
        "test|mask_test_v2",
        "list_train.txt",
        "list_query.txt",
        "list_gallery.txt",
    ),
    tree="""
MSMT17/            (or MSMT17_V2/ with mask_train_v2/ and mask_test_v2/)
  train/           0000/0000_000_01_0303morning_0008_0.jpg ...
  test/            0000/0000_000_01_0303morning_0013_1.jpg ...
  list_train.txt   lines "path identity"
  list_val.txt
  list_query.txt
  list_gallery.txt
""",
)

MARKET_LAYOUT = Layout(
    name="msmt17",
    folders=FOLDERS,
    parts=SPLIT_FOLDERS,
    tree="""
MSMT17/                (or MSMT17_V1/, MSMT17_V2/)
  bounding_box_train/  0000_c1_0000.jpg ...
  query/               0000_c6_0001.jpg ...
  bounding_box_test/   0000_c14_0002.jpg ...
""",
)


def read_msmt17(root: Path, _split: int = 0) -> DataSplits:
    """MSMT17: 15 cameras; as released or in the Market-1501 layout; the notes name the version.

    Training and test identities are numbered separately, both from 0. list_train and list_val are
    for training, as in CLIP-ReID.
    """
    layout, tree = find_any_tree((LAYOUT, MARKET_LAYOUT), root)
    splits = _read_lists(tree) if layout is LAYOUT else _read_market_layout(tree)
    _warn_of_version(splits, tree)
    return splits


def read_msmt17_train(root: Path, _split: int = 0) -> DataSplits:
    """MSMT17 without list_val, as a source of CLIP-DFGS, torchreid and fast-reid.

    Raises:
        FileNotFoundError: not as released; the Market-1501 layout does not tell the lists apart.
    """
    tree = find_tree(LAYOUT, root)
    splits = replace(_read_lists(tree, with_val=False), name=f"{LAYOUT.name}_train")
    _warn_of_version(splits, tree)
    return splits


def _warn_of_version(splits: DataSplits, tree: Path) -> None:
    if splits.notes[0] == VERSION_NOTES[2]:
        logger.warning(
            "msmt17: %s is version 2 (faces blurred); most published results are on version 1 and "
            "not comparable",
            tree,
        )


def _read_lists(tree: Path, *, with_val: bool = True) -> DataSplits:
    """The released layout; list_train and, if wanted, list_val are for training."""
    version, train, test = _detect_version(tree)
    notes = [VERSION_NOTES[version]]
    training = _read_images(tree / "list_train.txt", train)
    if not with_val:
        notes.append("list_train.txt alone is for training")
    elif (tree / "list_val.txt").exists():
        training += _read_images(tree / "list_val.txt", train)
        notes.append("list_train.txt and list_val.txt are for training")
    else:
        notes.append("list_val.txt is missing: only list_train.txt is for training")
    return DataSplits(
        LAYOUT.name,
        training,
        _read_images(tree / "list_query.txt", test),
        _read_images(tree / "list_gallery.txt", test),
        notes=tuple(notes),
        separate_test_ids=True,
    )


def _read_market_layout(tree: Path) -> DataSplits:
    """The Market-1501 layout; identity 0 is a person."""
    folder_name = tree.resolve().name.lower()
    versions = [version for version in IMAGE_FOLDERS if f"v{version}" in folder_name]
    note = VERSION_NOTES[versions[0]] if versions else UNKNOWN_VERSION
    train, query, gallery = (read_named_images(LAYOUT.name, tree / part) for part in SPLIT_FOLDERS)
    return DataSplits(LAYOUT.name, train, query, gallery, notes=(note,), separate_test_ids=True)


def _detect_version(tree: Path) -> tuple[int, Path, Path]:
    """Version, training folder, test folder; a tree named *V2 is always version 2."""
    masked = all((tree / folder).is_dir() for folder in IMAGE_FOLDERS[2])
    train, test = IMAGE_FOLDERS[2 if masked else 1]
    version = 2 if masked or "v2" in tree.resolve().name.lower() else 1
    return version, tree / train, tree / test


def _read_images(list_file: Path, folder: Path) -> list[Sample]:
    entries = read_id_list(list_file)
    if not entries or not (folder / entries[0][0]).is_file():
        raise no_images(LAYOUT.name, folder, f"the files named in {list_file}, like {EXAMPLE}")
    return [
        Sample(str(folder / image), pid, _parse_camera(image, list_file)) for image, pid in entries
    ]


def _parse_camera(image: str, list_file: Path) -> int:
    fields = Path(image).name.split("_")
    if len(fields) < 4 or not fields[2].isdecimal() or int(fields[2]) == 0:
        raise ValueError(
            f"data set {LAYOUT.name}: cannot read the camera of {image!r} in {list_file}: "
            f"expected a name like {EXAMPLE}"
        )
    return int(fields[2]) - 1


BENCHMARK = Benchmark(
    read_msmt17,
    trains_apart_from_tests=True,
    sizes=PublishedSizes(
        train_ids=(1_041,),
        train_images=(32_621,),
        query_ids=(3_060,),
        query_images=(11_659,),
        gallery_images=(82_161,),
    ),
    deviations={
        ("train_images", 30_248): "only list_train, without the 2,373 images of list_val",
        ("train_images", 2_373): "only list_val, without the 30,248 images of list_train",
    },
)

TRAIN_ONLY = Benchmark(
    read_msmt17_train,
    family="msmt17",
    trains_apart_from_tests=True,
    sizes=replace(BENCHMARK.sizes, train_images=(30_248,)),
)

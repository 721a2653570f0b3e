"""CUHK03 (Li et al., CVPR 2014): 1,467 pedestrians under five pairs of cameras.

It has two flavours, boxes drawn by hand ("labeled") or by a detector ("detected"), and two
protocols, the classic one (1,367/100 identities, 20 splits) and the new one (767/700 identities,
Zhong et al., CVPR 2017). Results are comparable only within one flavour and one protocol.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import numpy as np

from datasets.readers.benchmark import Benchmark, PublishedSizes
from datasets.readers.cuhk03_release import extract_images, read_test_set
from datasets.readers.layout import Layout, find_any_tree, find_tree, match_images
from datasets.readers.market1501 import SPLIT_FOLDERS, read_named_images
from datasets.records import DataSplits, Sample

NUM_SPLITS = 20
RELEASE_FILE = "cuhk03_release/cuhk-03.mat"
INDEX_FIELDS = ("train_idx", "query_idx", "gallery_idx")
EXAMPLE = "1_001_2_06.png (pair of cameras, identity, view 1 or 2, image)"
_FILE_NAME = re.compile(r"/([1-5])_(\d+)_([12])_\d+\.\w+$")

FOLDERS = ("cuhk03", "CUHK03", ".")
MARKET_FOLDERS = ("cuhk03-np", "CUHK03-NP", "cuhk03/cuhk03-np", "cuhk03", ".")
MARKET_TREE = """
cuhk03-np/{flavour}/
  bounding_box_train/   0001_c1_1.png ...
  query/                0002_c1_21.png ...
  bounding_box_test/    0002_c1_22.png ...
"""
NEW_TREE = """
cuhk03/
  cuhk03_new_protocol_config_{flavour}.mat
  images_{flavour}/   1_001_1_01.png ...
    or cuhk03_release/cuhk-03.mat, from which the images are extracted
"""
CLASSIC_TREE = """
cuhk03/
  cuhk03_release/cuhk-03.mat   (holds the test sets; needed even after extraction)
  images_{flavour}/            1_001_1_01.png ...; extracted when missing
"""


def read_cuhk03(root: Path, _split: int = 0, *, flavour: str = "detected") -> DataSplits:
    """CUHK03, new protocol: from the Market-1501 layout, or from the release and a split file.

    Args:
        root: the data root.
        flavour: "detected" or "labeled".
    """
    name = _add_flavour("cuhk03", flavour)
    note = f"CUHK03 {flavour}, new protocol (767/700 identities)"
    folders = tuple(f"{folder}/{flavour}" for folder in MARKET_FOLDERS)
    market = Layout(name, folders, SPLIT_FOLDERS, MARKET_TREE.format(flavour=flavour))
    split_file = f"cuhk03_new_protocol_config_{flavour}.mat"
    parts = (f"images_{flavour}|{RELEASE_FILE}", split_file)
    released = Layout(name, FOLDERS, parts, NEW_TREE.format(flavour=flavour))
    layout, tree = find_any_tree((market, released), root)
    if layout is market:
        train, query, gallery = (read_named_images(name, tree / part) for part in SPLIT_FOLDERS)
        cameras = "2 cameras: the file names do not tell the five camera pairs apart"
        return DataSplits(name, train, query, gallery, notes=(note, cameras))
    images = _read_images(name, tree, flavour)
    train, query, gallery = (
        _pick(name, images, file_names, tree / split_file)
        for file_names in _read_split_file(tree / split_file)
    )
    return DataSplits(name, train, query, gallery, notes=(note,))


def read_cuhk03_classic(root: Path, split: int = 0, *, flavour: str = "detected") -> DataSplits:
    """CUHK03, classic protocol: view 1 of 100 persons is the query, view 2 the gallery.

    A person seen in one view only is on that side only.

    Args:
        root: the data root.
        split: test set 0..19 of the release.
        flavour: "detected" or "labeled".
    """
    name = _add_flavour("cuhk03_classic", flavour)
    tree = find_tree(
        Layout(name, FOLDERS, (RELEASE_FILE,), CLASSIC_TREE.format(flavour=flavour)), root
    )
    test_pids = {_number_person(*person) for person in read_test_set(tree / RELEASE_FILE, split)}
    images = _read_images(name, tree, flavour).values()
    test = [sample for sample in images if sample.pid in test_pids]
    return DataSplits(
        name,
        train=[sample for sample in images if sample.pid not in test_pids],
        query=[sample for sample in test if sample.camid % 2 == 0],
        gallery=[sample for sample in test if sample.camid % 2 == 1],
        notes=(
            f"CUHK03 {flavour}, classic protocol (1,367/100 identities)",
            f"{NUM_SPLITS} splits; CMC with one random gallery image per identity",
        ),
        single_gallery_shot=True,
    )


def _add_flavour(name: str, flavour: str) -> str:
    return name if flavour == "detected" else f"{name}_{flavour}"


def _number_person(pair: int, identity: int) -> int:
    """A pid that is unique over the camera pairs, each of which counts from 1."""
    return 10_000 * pair + identity


def _read_images(name: str, tree: Path, flavour: str) -> dict[str, Sample]:
    """File name -> image, with 10 cameras; extracts the images from the release if necessary."""
    folder = tree / f"images_{flavour}"
    if not folder.is_dir():
        extract_images(tree / RELEASE_FILE, flavour, folder)
    images = {}
    for path, match in match_images(name, folder, _FILE_NAME, EXAMPLE):
        pair, identity, view = map(int, match.groups())
        pid = _number_person(pair, identity)
        images[path.name] = Sample(str(path), pid, camid=2 * (pair - 1) + view - 1)
    return images


def _read_split_file(path: Path) -> list[list[str]]:
    """Names of the training, query and gallery images.

    Raises:
        ValueError: the file is not a MATLAB file with these fields.
    """
    from scipy.io import loadmat  # not above: a light install reads no .mat

    try:
        content = loadmat(path, squeeze_me=True)
    except Exception as error:  # loadmat raises many kinds for other files
        raise ValueError(f"cannot read {path} ({error}). Is the copy complete?") from error
    fields = ("filelist", *INDEX_FIELDS)
    missing = [field for field in fields if field not in content]
    if missing:
        raise ValueError(f"{path}: expected {', '.join(fields)}, missing {', '.join(missing)}")
    names = np.atleast_1d(content["filelist"]).tolist()
    parts = [np.atleast_1d(content[field]).astype(int).tolist() for field in INDEX_FIELDS]
    if any(not 1 <= position <= len(names) for part in parts for position in part):
        raise ValueError(f"{path}: an index is outside 1..{len(names)}, the length of filelist")
    return [[names[position - 1] for position in part] for part in parts]


def _pick(
    name: str, images: dict[str, Sample], file_names: Iterable[str], split_file: Path
) -> list[Sample]:
    missing = [file_name for file_name in file_names if file_name not in images]
    if missing:
        raise FileNotFoundError(
            f"data set {name}: {len(missing):,} images of {split_file} are missing, "
            f"among them {missing[0]}. Is the copy complete?"
        )
    return [images[file_name] for file_name in file_names]


DETECTED = Benchmark(
    read_cuhk03,
    sizes=PublishedSizes(
        train_ids=(767,),
        train_images=(7_365,),
        query_ids=(700,),
        query_images=(1_400,),
        gallery_images=(5_332,),
    ),
    deviations={
        ("train_images", 7_368): "the labeled images",
        ("gallery_images", 5_328): "the labeled images",
    },
)
LABELED = Benchmark(
    partial(read_cuhk03, flavour="labeled"),
    family="cuhk03",
    sizes=PublishedSizes(
        train_ids=(767,), train_images=(7_368,), query_ids=(700,), query_images=(1_400,)
    ),
    deviations={("train_images", 7_365): "the detected images"},
)
# The number of images depends on the split, and a test person may lack one view.
CLASSIC_SIZES = PublishedSizes(train_ids=(1_367,))
CLASSIC = Benchmark(read_cuhk03_classic, NUM_SPLITS, family="cuhk03", sizes=CLASSIC_SIZES)
CLASSIC_LABELED = Benchmark(
    partial(read_cuhk03_classic, flavour="labeled"),
    NUM_SPLITS,
    family="cuhk03",
    sizes=CLASSIC_SIZES,
)

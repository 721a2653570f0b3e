"""GRID, QMUL underground re-identification (Loy et al., CVPR 2009): 250 persons, 8 cameras."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from datasets.readers.benchmark import Benchmark, PublishedSizes
from datasets.readers.layout import Layout, find_tree, match_images
from datasets.records import DataSplits, Sample

NUM_SPLITS = 10
BACKGROUND_PID = 0
SPLITS_FILE = "features_and_partitions.mat"
VARIABLE = "trainIdxAll"
EXAMPLE = "0001_1_25008_175_70_90_221.jpeg (identity, camera 1-8)"
_FILE_NAME = re.compile(r"/(\d+)_([1-8])_[^/]*$")

LAYOUT = Layout(
    name="grid",
    folders=(
        "grid/underground_reid",
        "underground_reid",
        "GRID/underground_reid",
        "GRID",
        "grid",
        ".",
    ),
    parts=("probe", "gallery", f"{SPLITS_FILE}|../{SPLITS_FILE}"),
    tree=f"""
grid/underground_reid/
  probe/    0001_1_25008_175_70_90_221.jpeg ...
  gallery/  0001_2_25023_116_134_128_330.jpeg ...   (identity 0000: other people)
  {SPLITS_FILE}
""",
)


def read_grid(root: Path, split: int = 0) -> DataSplits:
    """One of the ten published splits of GRID: 125 training and 125 test persons.

    Identity 0 stands for 775 images of other people. They are in every gallery and never trained
    on.
    """
    tree = find_tree(LAYOUT, root)
    probe, gallery = (_read_folder(tree / part) for part in LAYOUT.parts[:2])
    probe = [sample for sample in probe if sample.pid != BACKGROUND_PID]
    pids = {sample.pid for sample in probe + gallery} - {BACKGROUND_PID}
    train = _read_train_pids(_find_splits_file(tree), split, pids)
    others = sum(sample.pid == BACKGROUND_PID for sample in gallery)
    return DataSplits(
        LAYOUT.name,
        train=[sample for sample in probe + gallery if sample.pid in train],
        query=[sample for sample in probe if sample.pid not in train],
        gallery=[sample for sample in gallery if sample.pid not in train],
        notes=(
            f"the {NUM_SPLITS} splits published in {SPLITS_FILE}",
            f"{others} distractors (identity 0) in the gallery",
        ),
        distractors=frozenset([BACKGROUND_PID]),
    )


def _read_folder(folder: Path) -> list[Sample]:
    images = match_images(LAYOUT.name, folder, _FILE_NAME, EXAMPLE)
    return [Sample(str(path), int(match[1]), int(match[2]) - 1) for path, match in images]


def _find_splits_file(tree: Path) -> Path:
    file = tree / SPLITS_FILE
    return file if file.is_file() else tree.parent / SPLITS_FILE


def _read_train_pids(path: Path, split: int, pids: set[int]) -> set[int]:
    """The training identities of a split: half of `pids`.

    A split is a MATLAB struct or cell around one or more lists. The list sought names half of the
    identities, once each or twice (once per image).

    Raises:
        ValueError: no list does, or several different ones do.
    """
    from scipy.io import loadmat  # not above: a light install reads no .mat

    content = loadmat(path, variable_names=[VARIABLE])
    splits = list(content[VARIABLE].flat) if VARIABLE in content else []
    if len(splits) != NUM_SPLITS:
        raise ValueError(
            f"{path}: expected {NUM_SPLITS} splits in {VARIABLE!r}, found {len(splits)}"
        )
    lists = [set(values) for values in _find_integers(splits[split])]
    fitting = [values for values in lists if values < pids and 2 * len(values) == len(pids)]
    if any(values != fitting[0] for values in fitting):
        # Image numbers can look like identities; the published file lists identities third.
        fitting = [values for values in lists[2:3] if values in fitting]
    if not fitting:
        raise ValueError(
            f"{path}: split {split + 1} of {VARIABLE!r} should have one list of {len(pids) // 2} "
            f"of the {len(pids)} identities found (250 in a complete copy); it has lists of "
            f"{', '.join(str(len(values)) for values in lists) or 'no'} numbers"
        )
    return fitting[0]


def _find_integers(value: np.ndarray | np.void) -> Iterator[list[int]]:
    """Every array of whole numbers in nested MATLAB cells and structs."""
    if isinstance(value, np.void):
        for field in value.dtype.names or ():
            yield from _find_integers(value[field])
    elif value.dtype.names is not None or value.dtype == object:
        for element in value.flat:
            yield from _find_integers(element)
    elif value.dtype.kind in "iuf" and (value == np.floor(value)).all():
        yield value.astype(int).ravel().tolist()


BENCHMARK = Benchmark(
    read_grid,
    NUM_SPLITS,
    sizes=PublishedSizes(
        train_ids=(125,),
        train_images=(250,),
        query_ids=(125,),
        query_images=(125,),
        gallery_images=(900,),
    ),
    deviations={("gallery_images", 125): "the 775 distractors (identity 0) are missing"},
)

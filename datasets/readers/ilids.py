"""i-LIDS (Zheng et al., BMVC 2009): 119 persons in an airport hall, 476 images."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from random import Random

from datasets.readers.frozen_splits import FROZEN, describe_splits, load_splits
from datasets.readers.layout import Layout, find_tree, match_images
from datasets.records import DataSplits, Sample

EXAMPLE = "0001002.jpg (four digits identity, three digits number of the image, from 1)"
NUM_IDENTITIES = len(FROZEN["ilids"].identities)
_FILE_NAME = re.compile(r"/(\d{4})(?!000)(\d{3})\.\w+$")

LAYOUT = Layout(
    name="ilids",
    folders=("ilids/i-LIDS_Pedestrian", "i-LIDS_Pedestrian", "iLIDS", "QMUL-iLIDS", "ilids", "."),
    parts=("Persons|images",),
    tree="""
ilids/i-LIDS_Pedestrian/
  Persons/   0001001.jpg 0001002.jpg ...   (or QMUL-iLIDS/images/)
""",
)


def read_ilids(root: Path, split: int = 0) -> DataSplits:
    """One split of i-LIDS: 59 persons train; of 60, one image each is searched for in another.

    The data set has no camera labels. As is usual, the number of the image takes the camera's
    place: the images of a person all differ in it, and no match is ever junk.
    """
    groups = _read_groups(find_tree(LAYOUT, root))
    pids = sorted(groups)
    test = [pids[number - 1] for number in load_splits(LAYOUT.name)[split]]
    pairs = [_draw_pair(groups[pid], split) for pid in test]
    return DataSplits(
        LAYOUT.name,
        train=[sample for pid in pids if pid not in test for sample in groups[pid]],
        query=[query for query, _ in pairs],
        gallery=[gallery for _, gallery in pairs],
        notes=(
            describe_splits(LAYOUT.name),
            "query and gallery: one random image per identity each",
            "no camera labels: camid is the number of the image, no match is junk",
        ),
    )


def _read_groups(tree: Path) -> dict[int, list[Sample]]:
    """The images of each identity, by name."""
    folder = next(tree / part for part in ("Persons", "images") if (tree / part).is_dir())
    groups: defaultdict[int, list[Sample]] = defaultdict(list)
    for path, match in match_images(LAYOUT.name, folder, _FILE_NAME, EXAMPLE):
        pid = int(match[1])
        groups[pid].append(Sample(str(path), pid, camid=int(match[2]) - 1))
    if len(groups) != NUM_IDENTITIES:  # a gap would shift all that follow in the frozen splits
        raise ValueError(
            f"data set {LAYOUT.name}: {len(groups)} identities in {folder}, expected "
            f"{NUM_IDENTITIES}: the frozen splits number them by position. Is the copy complete?"
        )
    return dict(groups)


def _draw_pair(samples: list[Sample], split: int) -> tuple[Sample, Sample]:
    """Two different images of an identity, the query and the gallery image."""
    pid = samples[0].pid
    if len(samples) < 2:
        raise ValueError(
            f"data set {LAYOUT.name}: identity {pid} has one image, {samples[0].path}; "
            "a test identity needs two"
        )
    rng = Random(f"ilids {split} {pid}")
    remaining = list(samples)
    query = remaining.pop(int(rng.random() * len(remaining)))
    gallery = remaining[int(rng.random() * len(remaining))]
    return query, gallery

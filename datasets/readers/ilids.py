"""i-LIDS (Zheng et al., BMVC 2009): 119 persons in an airport hall, 476 images."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from random import Random

from datasets.readers.benchmark import Benchmark, PublishedSizes
from datasets.readers.frozen_splits import NUM_SPLITS, FrozenSplits
from datasets.readers.layout import Layout, find_tree, match_images
from datasets.records import DataSplits, Sample

EXAMPLE = "0001002.jpg (identity in four digits, image number from 001 in three)"
NUM_IDENTITIES = 119
_FILE_NAME = re.compile(r"/(\d{4})(?!000)(\d{3})\.\w+$")

# Identities are positions among the ascending pids, from 1.
FROZEN = FrozenSplits(
    "ilids",
    range(1, NUM_IDENTITIES + 1),
    num_test=60,
    sha256="442fa6c9774517830ac29c4287adbd32f37f68496e1ff563787dd0203adcb5d4",
)

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
    """One split of i-LIDS: 59 training persons; one query and one gallery image of each other.

    The data set has no camera labels. As is usual, the image number stands in for the camera, so
    that no match is ever junk.
    """
    groups = _read_groups(find_tree(LAYOUT, root))
    pids = sorted(groups)
    test = [pids[number - 1] for number in FROZEN.load()[split]]
    pairs = [_draw_pair(groups[pid], split) for pid in test]
    return DataSplits(
        LAYOUT.name,
        train=[sample for pid in pids if pid not in test for sample in groups[pid]],
        query=[query for query, _ in pairs],
        gallery=[gallery for _, gallery in pairs],
        notes=(
            FROZEN.note,
            "one random query and one random gallery image per identity",
            "no camera labels: camid is the image number, no match is junk",
        ),
    )


def _read_groups(tree: Path) -> dict[int, list[Sample]]:
    """The images of each identity, by name."""
    folder = next(tree / part for part in ("Persons", "images") if (tree / part).is_dir())
    groups: defaultdict[int, list[Sample]] = defaultdict(list)
    for path, match in match_images(LAYOUT.name, folder, _FILE_NAME, EXAMPLE):
        pid = int(match[1])
        groups[pid].append(Sample(str(path), pid, camid=int(match[2]) - 1))
    if len(groups) != NUM_IDENTITIES:  # a gap would shift all later identities
        raise ValueError(
            f"data set {LAYOUT.name}: {len(groups)} identities in {folder}, expected "
            f"{NUM_IDENTITIES}, because the frozen splits count positions. Is the copy complete?"
        )
    return dict(groups)


def _draw_pair(samples: list[Sample], split: int) -> tuple[Sample, Sample]:
    """The query and the gallery image of an identity."""
    pid = samples[0].pid
    if len(samples) < 2:
        raise ValueError(
            f"data set {LAYOUT.name}: identity {pid} has only one image, {samples[0].path}; "
            "a test identity needs two"
        )
    rng = Random(f"ilids {split} {pid}")
    remaining = list(samples)
    query = remaining.pop(int(rng.random() * len(remaining)))
    gallery = remaining[int(rng.random() * len(remaining))]
    return query, gallery


# The number of training images depends on the split.
BENCHMARK = Benchmark(
    read_ilids,
    NUM_SPLITS,
    sizes=PublishedSizes(
        train_ids=(59,), query_ids=(60,), query_images=(60,), gallery_images=(60,)
    ),
)

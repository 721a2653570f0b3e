"""PRID2011 (Hirzer et al., SCIA 2011), single-shot: two cameras that share 200 persons."""

from __future__ import annotations

import re
from pathlib import Path

from datasets.readers.frozen_splits import FROZEN, describe_splits, load_splits
from datasets.readers.layout import Layout, find_tree, match_images
from datasets.records import DataSplits, Sample

EXAMPLE = "person_0001.png (identity)"
_FILE_NAME = re.compile(r"/person_0*([1-9]\d*)\.\w+$")

LAYOUT = Layout(
    name="prid",
    folders=(
        "prid_2011/prid_2011/single_shot",
        "prid_2011/single_shot",
        "prid2011/prid_2011/single_shot",
        "prid2011/single_shot",
        "prid/single_shot",
        "PRID/single_shot",
        "single_shot",
        ".",
    ),
    parts=("cam_a", "cam_b"),
    tree="""
prid_2011/single_shot/
  cam_a/  person_0001.png .. person_0385.png
  cam_b/  person_0001.png .. person_0749.png
""",
)


def read_prid(root: Path, split: int = 0) -> DataSplits:
    """One split of PRID2011: 100 shared persons train, 100 are searched for from camera a.

    Only numbers 1..200 are the same person in both cameras. Camera a's others are left out;
    camera b's others are in every gallery, 549 persons whom no query shows.
    """
    tree = find_tree(LAYOUT, root)
    first, second = (_read_view(tree / part, camid) for camid, part in enumerate(LAYOUT.parts))
    shared = FROZEN[LAYOUT.name].identities
    test = set(load_splits(LAYOUT.name)[split])
    train = set(shared) - test
    gallery = [sample for sample in second if sample.pid not in train]
    others = sum(sample.pid not in shared for sample in gallery)
    return DataSplits(
        LAYOUT.name,
        train=[sample for sample in first + second if sample.pid in train],
        query=[sample for sample in first if sample.pid in test],
        gallery=gallery,
        notes=(
            describe_splits(LAYOUT.name),
            f"the gallery holds {others} more persons, whom camera a did not see",
        ),
    )


def _read_view(folder: Path, camid: int) -> list[Sample]:
    images = match_images(LAYOUT.name, folder, _FILE_NAME, EXAMPLE)
    return [Sample(str(path), int(match[1]), camid) for path, match in images]

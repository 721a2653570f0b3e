"""PRID2011 (Hirzer et al., SCIA 2011), single-shot: two cameras with 200 persons in common."""

from __future__ import annotations

import re
from pathlib import Path

from datasets.readers.benchmark import Benchmark, PublishedSizes
from datasets.readers.frozen_splits import NUM_SPLITS, FrozenSplits
from datasets.readers.layout import Layout, find_tree, match_images
from datasets.records import DataSplits, Sample

EXAMPLE = "person_0001.png (identity)"
_FILE_NAME = re.compile(r"/person_0*([1-9]\d*)\.\w+$")

# The persons that both cameras saw.
FROZEN = FrozenSplits(
    "prid",
    range(1, 201),
    num_test=100,
    sha256="802ff48e933dcea9d5f6d1cdc3f85917ae96ca495af51b0cd2aa1bab729bf3ad",
)

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
    """One split of PRID2011: 100 training and 100 test persons, queries from camera a.

    Only identities 1..200 are the same person in both cameras. The other persons of camera a are
    left out; the 549 others of camera b are distractors in every gallery.
    """
    tree = find_tree(LAYOUT, root)
    first, second = (_read_view(tree / part, camid) for camid, part in enumerate(LAYOUT.parts))
    shared = FROZEN.identities
    test = set(FROZEN.load()[split])
    train = set(shared) - test
    gallery = [sample for sample in second if sample.pid not in train]
    others = sum(sample.pid not in shared for sample in gallery)
    return DataSplits(
        LAYOUT.name,
        train=[sample for sample in first + second if sample.pid in train],
        query=[sample for sample in first if sample.pid in test],
        gallery=gallery,
        notes=(
            FROZEN.note,
            f"{others} distractors in the gallery, seen by camera b only",
        ),
    )


def _read_view(folder: Path, camid: int) -> list[Sample]:
    images = match_images(LAYOUT.name, folder, _FILE_NAME, EXAMPLE)
    return [Sample(str(path), int(match[1]), camid) for path, match in images]


BENCHMARK = Benchmark(
    read_prid,
    NUM_SPLITS,
    sizes=PublishedSizes(
        train_ids=(100,),
        train_images=(200,),
        query_ids=(100,),
        query_images=(100,),
        gallery_images=(649,),
    ),
    deviations={("gallery_images", 100): "the 549 persons seen by camera b only are missing"},
)

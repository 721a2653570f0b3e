"""MSMT17 (Wei et al., CVPR 2018), version 1 and version 2 (faces blurred)."""

from __future__ import annotations

import logging
from pathlib import Path

from datasets.readers.tree import Layout, find_tree, no_images, read_id_list
from datasets.records import DataSplits, Sample

logger = logging.getLogger(__name__)

FOLDERS = {1: ("train", "test"), 2: ("mask_train_v2", "mask_test_v2")}
EXAMPLE = "0000/0000_000_01_0303morning_0008_0.jpg (third field: camera counted from 1)"

LAYOUT = Layout(
    name="msmt17",
    folders=(
        "MSMT17",
        "MSMT17_V1",
        "msmt17/MSMT17_V1",
        "msmt17",
        "MSMT17_V2",
        "msmt17/MSMT17_V2",
        ".",
    ),
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


def read_msmt17(root: Path, _split: int = 0) -> DataSplits:
    """MSMT17: 15 cameras; trains on list_train and list_val; the version is in the notes.

    Identities of the training and of the test lists are numbered separately, both from 0.
    """
    tree = find_tree(LAYOUT, root)
    version, train, test = _detect_version(tree)
    notes = [f"MSMT17 version {version}" + (" (faces blurred)" if version == 2 else "")]
    if version == 2:
        logger.warning(
            "msmt17: %s is version 2 (faces blurred); most published results are for version 1, "
            "their numbers do not compare",
            tree,
        )
    training = _read_images(tree / "list_train.txt", train)
    if (tree / "list_val.txt").exists():
        training += _read_images(tree / "list_val.txt", train)
    else:
        notes.append("list_val.txt is missing: trained on list_train.txt only")
    return DataSplits(
        LAYOUT.name,
        training,
        _read_images(tree / "list_query.txt", test),
        _read_images(tree / "list_gallery.txt", test),
        notes=tuple(notes),
        separate_test_ids=True,
    )


def _detect_version(tree: Path) -> tuple[int, Path, Path]:
    """Version, training folder, test folder; a tree named ..V2 is version 2 with any folders."""
    masked = all((tree / folder).is_dir() for folder in FOLDERS[2])
    train, test = FOLDERS[2 if masked else 1]
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

"""Own data in folders: one folder per identity, or a tree in the Market-1501 layout.

A name stands for the same identity in all splits.
"""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from pathlib import Path

from datasets.own.entries import Entry, assemble_splits
from datasets.own.table import is_table, read_csv
from datasets.readers.image_files import describe_unread, find_files, is_image
from datasets.readers.market1501 import SPLIT_FOLDERS, read_market_tree
from datasets.records import DataSplits

logger = logging.getLogger(__name__)

FOLDER_SPLITS = {"train": "train", "query": "query", "gallery": "gallery", "test": "gallery"}
_CAMERA = re.compile(r"(?:_c|cam)(\d+)", re.IGNORECASE)
_CAMERA_FOLDER = re.compile(r"(?:c|cam|camera)[ _-]?\d+", re.IGNORECASE)


def own_data_name(path: Path) -> str:
    """The name of own data: that of the folder, or of the CSV file without its suffix."""
    return path.stem if is_table(path) else path.resolve().name


def read_own_data(path: Path, *, tested_only: bool = False) -> DataSplits:
    """Read a CSV file, a folder of identities, or a tree in the Market-1501 layout.

    Args:
        path: the file or folder.
        tested_only: see `assemble_splits`.
    """
    if is_table(path):
        return read_csv(path, tested_only=tested_only)
    if all((path / folder).is_dir() for folder in SPLIT_FOLDERS):
        splits = read_market_tree(own_data_name(path), path)
    else:
        splits = read_folder(path, tested_only=tested_only)
    return replace(splits, unread=tuple(map(str, find_files(path).unread)))


def read_folder(folder: Path, *, tested_only: bool = False) -> DataSplits:
    """Read `<folder>/<identity>/**/*.jpg`, or `<folder>/{train,query,gallery}/<identity>/**/*.jpg`.

    Images are what `is_image` says; `test/` is another name for `gallery/`. The camera is
    the number after "_c" or "cam" in the file name (`0007_c2_001.jpg`, `door-cam2.png`) if every
    file has one; otherwise cameras are unknown and count as one.

    Args:
        folder: the folder.
        tested_only: see `assemble_splits`.

    Raises:
        FileNotFoundError: no images in subfolders.
        ValueError: see `assemble_splits`.
    """
    name = own_data_name(folder)
    split_folders = _find_split_folders(folder)
    if split_folders:
        entries = [
            replace(entry, split=split)
            for subfolder, split in split_folders
            for entry in _list_identities(subfolder)
        ]
    else:
        entries = _list_identities(folder)
    if not entries:
        unread = describe_unread(find_files(folder).unread)
        raise FileNotFoundError(
            f"own data {name}: no images in subfolders of {folder}"
            f"{unread and f' ({unread})'}; expected "
            f"{folder}/<identity>/<image>.jpg or "
            f"{folder}/{{train,query,gallery}}/<identity>/<image>.jpg or, to train without labels "
            f"(train_dsgl.py), {folder}/train/unknown/<image>.jpg"
        )
    _doubt_identities(folder, sorted({entry.identity for entry in entries}))
    return assemble_splits(name, entries, tested_only=tested_only)


def _doubt_identities(folder: Path, names: list[str]) -> None:
    """Warn if all identities are named like cameras."""
    if all(_CAMERA_FOLDER.fullmatch(name) for name in names):
        logger.warning(
            "own data %s: the folders %s look like cameras, but each is read as one identity. If "
            "they are cameras, make a folder per identity and put the camera into the file name "
            "(<identity>/0001_c2.jpg); images without identities go to train/unknown/, for "
            "train_dsgl.py",
            folder,
            ", ".join(names[:3]) + (", ..." if len(names) > 3 else ""),
        )


def _find_split_folders(folder: Path) -> list[tuple[Path, str]]:
    """Split folders and their splits; empty if the folder holds identities."""
    subfolders = _list_folders(folder)
    names = {path.name.lower() for path in subfolders}
    has_test = "query" in names and bool(names & {"gallery", "test"})
    if not has_test and not names <= set(FOLDER_SPLITS):
        return []
    ignored = sorted(names - set(FOLDER_SPLITS))
    if ignored:
        logger.warning("own data %s: ignored the folders %s", folder, ", ".join(ignored))
    found = [(path, FOLDER_SPLITS.get(path.name.lower(), "")) for path in subfolders]
    return [(path, split) for path, split in found if split]


def _list_folders(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def _list_identities(folder: Path) -> list[Entry]:
    loose = sum(is_image(path) for path in folder.iterdir() if path.is_file())
    if loose:
        logger.warning("own data %s: ignored %d images outside identity folders", folder, loose)
    return [
        Entry(image, identity.name, _find_camera(image))
        for identity in _list_folders(folder)
        for image in sorted(identity.rglob("*"))
        if is_image(image) and image.is_file()
    ]


def _find_camera(image: Path) -> str:
    """The number in the file name, without leading zeros, or nothing."""
    match = _CAMERA.search(image.stem)
    return str(int(match[1])) if match else ""

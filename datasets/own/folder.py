"""Own data in folders: one per identity, or a tree in the Market-1501 layout.

Identities get numbers 0, 1, ... by name: in numeric order when all names are whole numbers, else in
alphabetical order. One name is one identity in all splits.
"""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from pathlib import Path

from datasets.own.csv_file import read_csv
from datasets.own.entries import Entry, assemble_splits
from datasets.readers.layout import is_image
from datasets.readers.market1501 import SPLIT_FOLDERS, read_market_tree
from datasets.records import DataSplits

logger = logging.getLogger(__name__)

FOLDER_SPLITS = {"train": "train", "query": "query", "gallery": "gallery", "test": "gallery"}
_CAMERA = re.compile(r"(?:_c|cam)(\d+)", re.IGNORECASE)


def own_data_name(path: Path) -> str:
    """What own data is called: after the folder, or the CSV file without its ending."""
    return path.stem if _is_csv(path) else path.resolve().name


def read_own_data(path: Path) -> DataSplits:
    """Read `path`: a CSV file, a folder per identity, or a tree in the Market-1501 layout."""
    if _is_csv(path):
        return read_csv(path)
    if all((path / folder).is_dir() for folder in SPLIT_FOLDERS):
        return read_market_tree(own_data_name(path), path)
    return read_folder(path)


def _is_csv(path: Path) -> bool:
    return path.suffix.lower() == ".csv" and path.is_file()


def read_folder(folder: Path) -> DataSplits:
    """Read `<folder>/<identity>/**/*.jpg`, or `<folder>/{train,query,gallery}/<identity>/**/*.jpg`.

    Images are jpg, png, bmp, tif and webp; `test/` is another name for `gallery/`. Without split
    folders the split is drawn (`split_own_data`). The camera is the number after "_c" or "cam" in
    the file name (`0007_c2_001.jpg`, `door-cam2.png`) when every file has one; otherwise cameras
    are unknown and count as one. Camera numbers become 0, 1, ... in ascending order.
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
        raise FileNotFoundError(
            f"own data {name}: no images in {folder}; expected {folder}/<identity>/<image>.jpg "
            f"or {folder}/{{train,query,gallery}}/<identity>/<image>.jpg"
        )
    return assemble_splits(name, _number_cameras(entries))


def _find_split_folders(folder: Path) -> list[tuple[Path, str]]:
    """Pre-made split folders and their splits; none when the folder holds identities."""
    subfolders = _list_folders(folder)
    names = {path.name.lower() for path in subfolders}
    has_test = "query" in names and bool(names & {"gallery", "test"})
    if not has_test and not names <= set(FOLDER_SPLITS):
        return []
    ignored = sorted(names - set(FOLDER_SPLITS))
    if ignored:
        logger.warning("own data %s: folders not read: %s", folder, ", ".join(ignored))
    found = [(path, FOLDER_SPLITS.get(path.name.lower(), "")) for path in subfolders]
    return [(path, split) for path, split in found if split]


def _list_folders(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def _list_identities(folder: Path) -> list[Entry]:
    loose = sum(is_image(path) for path in folder.iterdir() if path.is_file())
    if loose:
        logger.warning("own data %s: %d images outside an identity folder not read", folder, loose)
    return [
        Entry(image, identity.name, _find_camera(image))
        for identity in _list_folders(folder)
        for image in sorted(identity.rglob("*"))
        if is_image(image) and image.is_file()
    ]


def _find_camera(image: Path) -> int | None:
    match = _CAMERA.search(image.stem)
    return int(match[1]) if match else None


def _number_cameras(entries: list[Entry]) -> list[Entry]:
    """Camera numbers to 0, 1, ...; None for all when any file name has none."""
    numbers = {entry.camera for entry in entries}
    if None in numbers:
        return [replace(entry, camera=None) for entry in entries]
    camids = {
        number: camid for camid, number in enumerate(sorted(n for n in numbers if n is not None))
    }
    return [replace(entry, camera=camids[entry.camera or 0]) for entry in entries]

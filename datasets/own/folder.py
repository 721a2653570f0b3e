"""Own data in folders: one folder per identity, or a tree in the Market-1501 layout.

A name stands for the same identity in all splits.
"""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from datasets.own.cameras import doubt_cameras, find_camera
from datasets.own.entries import SPLITS, Entry, assemble_splits, is_unknown
from datasets.own.table import is_table, read_csv
from datasets.readers.image_files import describe_unread, find_files, is_hidden
from datasets.readers.market1501 import SPLIT_FOLDERS, parse_file_name
from datasets.records import DataSplits

logger = logging.getLogger(__name__)

FOLDER_SPLITS = {
    "train": "train",
    "query": "query",
    "probe": "query",
    "gallery": "gallery",
    "test": "gallery",
}
MARKET_FOLDERS = {
    **dict(zip(SPLIT_FOLDERS, SPLITS, strict=True)),
    "image_train": "train",
    "image_query": "query",
    "image_test": "gallery",
}
OTHER_SPLITS = ("val", "valid", "validation", "dev", "train_all", "multi-query", "multi_query")
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
    parts = {part: MARKET_FOLDERS.get(part.name.lower(), "") for part in _list_folders(path)}
    if set(SPLITS) <= set(parts.values()):
        return _read_market_tree(path, parts)
    return read_folder(path, tested_only=tested_only)


def _read_market_tree(folder: Path, parts: Mapping[Path, str]) -> DataSplits:
    """Read a tree whose file names give identity and camera.

    Args:
        folder: the tree.
        parts: its folders and their splits; "" = another folder.
    """
    name = own_data_name(folder)
    found = find_files(folder)
    entries = []
    for image in found.images:
        split = parts.get(folder / image.relative_to(folder).parts[0], "")
        if split:
            identity, camera = parse_file_name(name, image)
            entries.append(Entry(image, identity, camera, split=split))
    if not entries:
        unread = describe_unread(found.unread)
        names = ", ".join(sorted(path.name for path, split in parts.items() if split))
        raise FileNotFoundError(
            f"own data {name}: no images in {names} below {folder}{unread and f'; {unread}'}"
        )
    others = len(found.images) - len(entries)
    if others:
        logger.warning("own data %s: ignored %d images outside these splits", folder, others)
    splits = assemble_splits(name, entries, as_benchmark=True)
    return replace(splits, unread=tuple(map(str, found.unread)))


def read_folder(folder: Path, *, tested_only: bool = False) -> DataSplits:
    """Read `<folder>/<identity>/<image>`, or the same below folders of splits.

    The splits are `train`, `query` (or `probe`) and `gallery` (or `test`); OTHER_SPLITS are left
    out. An identity's folder may hold folders beside images. The camera is the number after
    "c" or "cam" in the file name (`0007_c2_001.jpg`, `door-cam2.png`) if every file has one and the
    numbers make sense (see `doubt_cameras`); otherwise cameras are unknown and count as one.

    Args:
        folder: the folder.
        tested_only: see `assemble_splits`.

    Raises:
        FileNotFoundError: no images in subfolders.
        ValueError: an identity's folder holds only folders, or two folders are of one split; see
            `assemble_splits`.
    """
    name = own_data_name(folder)
    found = find_files(folder)
    split_folders = _find_split_folders(folder, found.images) or [(folder, "")]
    entries = [
        replace(entry, split=split)
        for subfolder, split in split_folders
        for entry in _list_identities(name, subfolder, found.images)
    ]
    if not entries:
        unread = describe_unread(found.unread)
        raise FileNotFoundError(
            f"own data {name}: no images in subfolders of {folder}"
            f"{unread and f' ({unread})'}; expected "
            f"{folder}/<identity>/<image>.jpg or "
            f"{folder}/{{train,query,gallery}}/<identity>/<image>.jpg or, to train without labels "
            f"(train_dsgl.py), {folder}/train/unknown/<image>.jpg"
        )
    loose = sum(image.parent in (folder, *dict(split_folders)) for image in found.images)
    if loose:
        logger.warning("own data %s: ignored %d images outside identity folders", folder, loose)
    _doubt_identities(folder, sorted({entry.identity for entry in entries}))
    entries = doubt_cameras(name, entries)
    cameras = {entry.camera for entry in entries}
    logger.info(
        "own data %s: %d identities, %d images, %s",
        name,
        len({entry.identity for entry in entries}),
        len(entries),
        "cameras unknown" if "" in cameras else f"{len(cameras)} cameras from file names",
    )
    splits = assemble_splits(name, entries, tested_only=tested_only)
    return replace(splits, unread=tuple(map(str, found.unread)))


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


def _find_split_folders(folder: Path, images: Sequence[Path]) -> list[tuple[Path, str]]:
    """Split folders and their splits; empty if the folder holds identities."""
    subfolders = {path: path.name.lower() for path in _list_folders(folder)}
    names = set(subfolders.values())
    splits = {FOLDER_SPLITS.get(name, "") for name in names}
    if not {"query", "gallery"} <= splits and not names <= {*FOLDER_SPLITS, *OTHER_SPLITS}:
        return []
    if not splits - {""}:
        return []
    for path, name in subfolders.items():
        if name not in FOLDER_SPLITS:
            count = sum(path in image.parents for image in images)
            logger.warning("own data %s: left out %s/ with %d images", folder, path.name, count)
    found = [(p, FOLDER_SPLITS[name]) for p, name in subfolders.items() if name in FOLDER_SPLITS]
    for split in SPLITS:
        same = [path.name for path, own in found if own == split]
        if len(same) > 1:
            raise ValueError(
                f"own data {folder}: {' and '.join(same)} are both read as {split}; keep one of "
                "them, or join them to one folder"
            )
    return found


def _list_folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not is_hidden(path))


def _list_identities(name: str, folder: Path, images: Sequence[Path]) -> list[Entry]:
    """The images of a folder's subfolders, each named after an identity."""
    by_identity: dict[Path, list[Path]] = defaultdict(list)
    for image in images:
        if image.is_relative_to(folder) and image.parent != folder:
            by_identity[folder / image.relative_to(folder).parts[0]].append(image)
    for identity, own in by_identity.items():
        if not is_unknown(identity.name):
            _check_depth(name, identity, own)
    return [
        Entry(image, identity.name, find_camera(image))
        for identity, own in by_identity.items()
        for image in own
    ]


def _check_depth(name: str, identity: Path, images: Sequence[Path]) -> None:
    """Raise ValueError for a folder without an image of its own: it may not be an identity."""
    if any(image.parent == identity for image in images):
        return
    inside = sorted({image.relative_to(identity).parts[0] for image in images})
    some = ", ".join(inside[:3]) + (", ..." if len(inside) > 3 else "")
    raise ValueError(
        f"own data {name}: {identity} should be an identity, but it holds only folders "
        f"({len(inside)}: {some}); the first image is {images[0].relative_to(identity.parent)}. If "
        f"these are identities, name {identity} as the data set, or put all identities into one "
        "folder; if they are parts of an identity, move their images up, or give a CSV file"
    )

"""Own data without code: a folder per identity, a CSV file, or a folder in the Market-1501 layout.

Identities get numbers 0, 1, ... by name: in numeric order when all names are whole numbers, else in
alphabetical order. One name is one identity in all splits.
"""

from __future__ import annotations

import csv
import logging
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from datasets.readers.market1501 import SPLIT_FOLDERS, read_market_tree
from datasets.readers.tree import is_image
from datasets.records import DataSplits, Sample

logger = logging.getLogger(__name__)

SPLITS = ("train", "query", "gallery")
FOLDER_SPLITS = {"train": "train", "query": "query", "gallery": "gallery", "test": "gallery"}
CSV_COLUMNS = ("path", "pid", "camid", "viewid", "split")
MISSING_VIEW = -1
MIN_IDENTITIES = 4
OWN_SPLIT = "give the split: folders train/, query/ and gallery/, or a CSV column 'split'"
_CAMERA = re.compile(r"(?:_c|cam)(\d+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Entry:
    """An image as found: `camera` None and `split` "" where not given."""

    path: Path
    identity: str
    camera: int | None
    viewid: int = 0
    split: str = ""


def read_own_data(path: Path) -> DataSplits:
    """Read `path`: a CSV file, a folder per identity, or a tree in the Market-1501 layout."""
    if path.suffix.lower() == ".csv" and path.is_file():
        return read_csv(path)
    if all((path / folder).is_dir() for folder in SPLIT_FOLDERS):
        return read_market_tree(path.resolve().name, path)
    return read_folder(path)


def read_folder(folder: Path) -> DataSplits:
    """Read `<folder>/<identity>/**/*.jpg`, or `<folder>/{train,query,gallery}/<identity>/**/*.jpg`.

    Images are jpg, jpeg, png, bmp and webp; `test/` is another name for `gallery/`. Without split
    folders the split is drawn (`split_own_data`). The camera is the number after "_c" or "cam" in
    the file name (`0007_c2_001.jpg`, `door-cam2.png`) when every file has one; otherwise cameras
    are unknown and count as one. Camera numbers become 0, 1, ... in ascending order.
    """
    name = folder.resolve().name
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
    return _assemble(name, _number_cameras(entries))


def read_csv(file: Path) -> DataSplits:
    """Read a CSV with header `path,pid` and, if wanted, `camid`, `viewid` and `split`.

    Paths are relative to the file's folder; pid is any text; camid is 0, 1, ...; an empty viewid
    or -1 is a missing label; split is train, query or gallery, in every row or in none.

    Raises:
        ValueError: the header or a row is wrong; the text names file and line.
    """
    with file.open(newline="", encoding="utf-8-sig") as stream:
        reader = csv.reader(stream)
        header = [column.strip().lower() for column in next(reader, [])]
        _check_header(file, header)
        entries: list[_Entry] = []
        lines: dict[Path, int] = {}
        for row in reader:
            if not any(cell.strip() for cell in row):
                continue
            entry = _parse_row(file, reader.line_num, header, row)
            first = lines.setdefault(entry.path, reader.line_num)
            if first != reader.line_num:
                raise _row_error(file, reader.line_num, f"{entry.path} is already on line {first}")
            entries.append(entry)
    if not entries:
        raise ValueError(f"{file}: no rows below the header")
    if len({bool(entry.split) for entry in entries}) > 1:
        missing = next(lines[entry.path] for entry in entries if not entry.split)
        raise _row_error(file, missing, "split is empty; give it in every row or in none")
    return _assemble(file.stem, entries)


def split_own_data(
    samples: Sequence[Sample], *, name: str = "own data", seed: int = 0, train_fraction: float = 0.5
) -> DataSplits:
    """Draw a split: some identities train, the others test.

    Of each test identity one image per camera becomes a query as long as every query keeps a
    gallery image that counts as a match: one from another camera, or any where there is but one
    camera. All other images of test identities are the gallery; an identity that cannot be
    searched for is a distractor there. The draw depends on `seed` and the samples, not on their
    order; paths must differ.

    Raises:
        ValueError: fewer than four identities, or no query can be drawn.
    """
    rng = Random(seed)
    train_pids, test_pids = _draw_identities(samples, name, rng, train_fraction)
    ignore_same_camera = _has_cameras(samples)
    train: list[Sample] = []
    groups: dict[int, list[Sample]] = {pid: [] for pid in test_pids}
    for sample in sorted(samples, key=lambda sample: sample.path):
        groups.get(sample.pid, train).append(sample)
    query: list[Sample] = []
    for group in groups.values():
        query += _draw_queries(group, rng, across_cameras=ignore_same_camera)
    if not query:
        images = "images from two cameras" if ignore_same_camera else "two images"
        raise ValueError(
            f"own data {name}: nothing to test, none of the {len(groups)} test identities has "
            f"{images}; {OWN_SPLIT}"
        )
    drawn = set(query)
    gallery = [sample for group in groups.values() for sample in group if sample not in drawn]
    note = f"split drawn with seed {seed}: {len(train_pids)} identities train, {len(groups)} test"
    return DataSplits(name, train, query, gallery, ignore_same_camera, notes=(note,))


def _draw_identities(
    samples: Sequence[Sample], name: str, rng: Random, train_fraction: float
) -> tuple[list[int], list[int]]:
    """Training and test identities, each ascending and at least one."""
    pids = sorted({sample.pid for sample in samples})
    if len(pids) < MIN_IDENTITIES:
        raise ValueError(
            f"own data {name}: {len(pids)} identities are too few to draw a split, "
            f"{MIN_IDENTITIES} are needed; {OWN_SPLIT}"
        )
    shuffled = sorted(pids, key={pid: rng.random() for pid in pids}.__getitem__)
    num_train = min(max(round(len(pids) * train_fraction), 1), len(pids) - 1)
    return sorted(shuffled[:num_train]), sorted(shuffled[num_train:])


def _draw_queries(group: list[Sample], rng: Random, *, across_cameras: bool) -> list[Sample]:
    """One query per camera, as long as all queries keep a match among the images not drawn."""
    left = Counter(sample.camid for sample in group)
    queries: list[Sample] = []
    for camid in sorted(left):
        images = [sample for sample in group if sample.camid == camid]
        candidate = images[int(rng.random() * len(images))]
        left[camid] -= 1
        asking = {camid, *(query.camid for query in queries)}
        if all(left.total() - across_cameras * left[camera] > 0 for camera in asking):
            queries.append(candidate)
        else:
            left[camid] += 1
    return queries


def _assemble(name: str, entries: list[_Entry]) -> DataSplits:
    """Entries to splits: number the identities, then take the given split or draw one."""
    pids = _number_identities(entry.identity for entry in entries)
    cameras_known = all(entry.camera is not None for entry in entries)
    by_split: dict[str, list[Sample]] = {split: [] for split in ("", *SPLITS)}
    for entry in entries:
        sample = Sample(str(entry.path), pids[entry.identity], entry.camera or 0, entry.viewid)
        by_split[entry.split].append(sample)
    if by_split[""]:
        splits = split_own_data(by_split[""], name=name)
    else:
        splits = _check_given_split(name, *(by_split[split] for split in SPLITS))
    notes = list(splits.notes)
    if not cameras_known:
        notes.append("cameras unknown: no gallery image is left out as same-camera junk")
    elif not splits.ignore_same_camera:
        notes.append("one camera: no gallery image is left out as same-camera junk")
    return replace(splits, notes=tuple(notes))


def _check_given_split(
    name: str, train: list[Sample], query: list[Sample], gallery: list[Sample]
) -> DataSplits:
    if bool(query) != bool(gallery):
        given, missing = ("query", "gallery") if query else ("gallery", "query")
        raise ValueError(f"own data {name}: {given} images but no {missing} images; {OWN_SPLIT}")
    notes = []
    shared = {sample.pid for sample in train} & {sample.pid for sample in query + gallery}
    if shared:
        notes.append(f"{len(shared)} identities are in both train and test")
        logger.warning("own data %s: %s; results will be too good", name, notes[0])
    return DataSplits(name, train, query, gallery, _has_cameras(query + gallery), tuple(notes))


def _has_cameras(samples: Iterable[Sample]) -> bool:
    return len({sample.camid for sample in samples}) > 1


def _number_identities(names: Iterable[str]) -> dict[str, int]:
    distinct = sorted(set(names))
    if all(name.isdecimal() for name in distinct):
        distinct.sort(key=int)
    return {name: pid for pid, name in enumerate(distinct)}


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


def _list_identities(folder: Path) -> list[_Entry]:
    loose = sum(is_image(path) for path in folder.iterdir() if path.is_file())
    if loose:
        logger.warning("own data %s: %d images outside an identity folder not read", folder, loose)
    return [
        _Entry(image, identity.name, _find_camera(image))
        for identity in _list_folders(folder)
        for image in sorted(identity.rglob("*"))
        if is_image(image) and image.is_file()
    ]


def _find_camera(image: Path) -> int | None:
    match = _CAMERA.search(image.stem)
    return int(match[1]) if match else None


def _number_cameras(entries: list[_Entry]) -> list[_Entry]:
    """Camera numbers to 0, 1, ...; None for all when any file name has none."""
    numbers = {entry.camera for entry in entries}
    if None in numbers:
        return [replace(entry, camera=None) for entry in entries]
    camids = {
        number: camid for camid, number in enumerate(sorted(n for n in numbers if n is not None))
    }
    return [replace(entry, camera=camids[entry.camera or 0]) for entry in entries]


def _check_header(file: Path, header: list[str]) -> None:
    unknown = [column for column in header if column not in CSV_COLUMNS]
    missing = [column for column in ("path", "pid") if column not in header]
    if unknown or missing or len(set(header)) < len(header):
        raise ValueError(
            f"{file}, line 1: expected the header path,pid[,camid][,viewid][,split], "
            f"found {','.join(header)!r}"
        )


def _parse_row(file: Path, line: int, header: list[str], row: list[str]) -> _Entry:
    if len(row) != len(header):
        raise _row_error(file, line, f"{len(header)} fields expected, {len(row)} found")
    cells = dict(zip(header, (cell.strip() for cell in row), strict=True))
    path = file.parent / cells["path"]
    if not cells["path"] or not path.is_file():
        raise _row_error(file, line, f"no such file: {path}")
    if not cells["pid"]:
        raise _row_error(file, line, "pid is empty")
    split = cells.get("split", "").lower()
    if split not in ("", *SPLITS):
        raise _row_error(file, line, f"split is {split!r}; expected {', '.join(SPLITS)}")
    camera = _parse_number(file, line, cells, "camid", smallest=0) if "camid" in cells else None
    viewid = 0
    if "viewid" in cells:
        cells["viewid"] = cells["viewid"] or str(MISSING_VIEW)
        viewid = _parse_number(file, line, cells, "viewid", smallest=MISSING_VIEW)
    return _Entry(path, cells["pid"], camera, viewid, split)


def _parse_number(file: Path, line: int, cells: dict[str, str], column: str, smallest: int) -> int:
    try:
        number = int(cells[column])
    except ValueError:
        number = smallest - 1
    if number < smallest:
        text = f"{column} is {cells[column]!r}; expected a whole number from {smallest}"
        raise _row_error(file, line, text)
    return number


def _row_error(file: Path, line: int, text: str) -> ValueError:
    return ValueError(f"{file}, line {line}: {text}")

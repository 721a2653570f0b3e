"""Own data as found on disk, and the way from there to splits."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from datasets.own.split import OWN_SPLIT, has_cameras, split_own_data
from datasets.records import DataSplits, Sample

logger = logging.getLogger(__name__)

SPLITS = ("train", "query", "gallery")


@dataclass(frozen=True, slots=True)
class Entry:
    """An image as found: `camera` None and `split` "" where not given."""

    path: Path
    identity: str
    camera: int | None
    viewid: int = 0
    split: str = ""


def assemble_splits(name: str, entries: list[Entry]) -> DataSplits:
    """Entries to splits: number the identities, then take the given split or draw one."""
    pids = number_identities(entry.identity for entry in entries)
    cameras_known = all(entry.camera is not None for entry in entries)
    by_split: dict[str, list[Sample]] = {split: [] for split in ("", *SPLITS)}
    for entry in entries:
        camid = (entry.camera or 0) if cameras_known else 0
        sample = Sample(str(entry.path), pids[entry.identity], camid, entry.viewid)
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
    return DataSplits(name, train, query, gallery, has_cameras(query + gallery), tuple(notes))


def number_identities(names: Iterable[str]) -> dict[str, int]:
    """Numbers from 0 by name: in numeric order when all are whole numbers, else alphabetically."""
    distinct = sorted(set(names))
    if all(name.isdecimal() for name in distinct):
        distinct.sort(key=int)
    return {name: pid for pid, name in enumerate(distinct)}

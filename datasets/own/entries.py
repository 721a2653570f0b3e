"""From images and their labels, as found on disk, to splits."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from datasets.own.draw import OWN_SPLIT, draw_test_only, has_cameras, split_own_data
from datasets.records import DataSplits, Sample, natural_order

logger = logging.getLogger(__name__)

SPLITS = ("train", "query", "gallery")
BOTH = "both"  # query and gallery


@dataclass(frozen=True, slots=True)
class Entry:
    """An image as found, with names; `camera`, `split` and `encounter` are empty if not given.

    `split` is one of SPLITS or BOTH; an encounter is a day, or another group of images alike.
    """

    path: Path
    identity: str
    camera: str
    viewid: int = 0
    split: str = ""
    encounter: str = ""


def assemble_splits(name: str, entries: list[Entry], *, tested_only: bool) -> DataSplits:
    """Number identities and cameras, then take the given split, draw one, or test all identities.

    Identities and cameras keep their names. If an image has no camera, all cameras count as
    unknown.

    Args:
        name: of the data.
        entries: the images, all with a split or all without.
        tested_only: no model was trained on the data, so it needs no training split.
    """
    pids = number_names(entry.identity for entry in entries)
    cameras_known = all(entry.camera for entry in entries)
    camids = number_names(entry.camera for entry in entries)
    encounter_names = sorted({entry.encounter for entry in entries}, key=natural_order)
    numbers = {name: number for number, name in enumerate(encounter_names)}
    encounters: dict[Sample, int] = {}
    by_split: dict[str, list[Sample]] = {split: [] for split in ("", *SPLITS)}
    for entry in entries:
        sample = Sample(
            str(entry.path),
            pids[entry.identity],
            camids[entry.camera] if cameras_known else 0,
            entry.viewid,
            entry.identity,
            entry.camera if cameras_known else "",
            camera_known=cameras_known,
        )
        if entry.encounter:
            encounters[sample] = numbers[entry.encounter]
        for split in SPLITS[1:] if entry.split == BOTH else [entry.split]:
            by_split[split].append(sample)
    if by_split[""]:
        draw = draw_test_only if tested_only else split_own_data
        splits = draw(by_split[""], name=name, encounters=_if_complete(encounters, entries, name))
    else:
        splits = _check_given_split(name, *(by_split[split] for split in SPLITS))
    both = sum(entry.split == BOTH for entry in entries)
    if both:
        note = f"{both:,} images are query and gallery, but not matches of themselves"
        splits = replace(splits, notes=(*splits.notes, note))
    if splits.ignore_same_camera or not splits.query:
        return splits
    several = has_cameras([*splits.query, *splits.gallery])
    cameras = "cameras unknown"
    if cameras_known:
        cameras = "several cameras" if several else "one camera"
    note = f"{cameras}: no gallery image is left out as same-camera junk"
    return replace(splits, notes=(*splits.notes, note))


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
        logger.warning("own data %s: %s; scores will be too high", name, notes[0])
    return DataSplits(name, train, query, gallery, has_cameras(query + gallery), tuple(notes))


def number_names(names: Iterable[str]) -> dict[str, int]:
    """Number distinct names from 0: in numeric order if all are whole numbers, else alphabetically.

    Names are text: "7" and "007" are two.
    """
    distinct = sorted(set(names))
    if all(name.isdecimal() for name in distinct):
        distinct.sort(key=int)
    return {name: number for number, name in enumerate(distinct)}


def _if_complete(
    encounters: dict[Sample, int], entries: Sequence[Entry], name: str
) -> dict[Sample, int] | None:
    """The encounters, or None if an image has none."""
    missing = len(entries) - len(encounters)
    if encounters and missing:
        logger.warning(
            "own data %s: %d of %d images have no encounter or date, so none is used",
            name,
            missing,
            len(entries),
        )
    return encounters if not missing else None

"""From images and their labels, as found on disk, to splits."""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from datasets.own.draw import OWN_SPLIT, draw_test_only, has_cameras, split_own_data
from datasets.records import DataSplits, Sample, natural_order

logger = logging.getLogger(__name__)

SPLITS = ("train", "query", "gallery")
BOTH = "both"  # query and gallery
JUNK = "-1"  # the identity of images that nobody should use
UNKNOWN_NAME = "unknown"  # the identity of images that nobody has told apart


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


def assemble_splits(
    name: str,
    entries: Sequence[Entry],
    *,
    tested_only: bool = False,
    as_benchmark: bool = False,
) -> DataSplits:
    """Number identities and cameras, then take the given split, draw one, or test all identities.

    Identities and cameras keep their names. If an image has no camera, all cameras count as
    unknown. As in the benchmarks, images of identity -1 are junk and left out, and those of
    identity 0 (or 0000) are distractors, which are in the gallery only; but where the identities
    are 0, 1, 2, ... (or 000, 001, ...) without a gap, 0 is one of them. Images of identity
    "unknown" are left out, unless there is no other to train on.

    Args:
        name: of the data.
        entries: the images, all with a split or all without.
        tested_only: no model was trained on the data, so it needs no training split.
        as_benchmark: identity 0 means distractors, and matches from the query's camera are junk,
            in any case.

    Raises:
        ValueError: nothing but junk; see `_check_given_split` and `split_own_data`.
    """
    people = [entry for entry in entries if entry.identity != JUNK]
    if not people:
        raise ValueError(f"own data {name}: all {len(entries)} images are junk (identity {JUNK})")
    kept = _without_unknown(name, people)
    if not kept:
        raise ValueError(
            f"own data {name}: all {len(people)} images are of identity {UNKNOWN_NAME}, and none "
            "is to be trained on; name the identities of the test images"
        )
    _warn_of_missing_cameras(name, kept)
    samples = _number_entries(kept)
    distractors = _find_distractors(samples, always=as_benchmark)
    if distractors and not as_benchmark:
        logger.warning(
            "own data %s: identity 0 means background (distractors), as in the benchmarks; if it "
            "is an identity, give it another name",
            name,
        )
    _warn_of_alike(name, {sample.identity for sample in samples})
    if kept[0].split:
        splits = _take_given_split(name, kept, samples, distractors)
    else:
        draw = draw_test_only if tested_only else split_own_data
        others = [sample for sample in samples if sample.pid not in distractors]
        splits = draw(others, name=name, encounters=_number_encounters(name, kept, samples))
        background = [sample for sample in samples if sample.pid in distractors]
        splits = replace(splits, gallery=[*splits.gallery, *background])
    junk_rule = as_benchmark or splits.ignore_same_camera
    splits = replace(splits, distractors=distractors, ignore_same_camera=junk_rule)
    notes = [*splits.notes, *_describe(kept, splits, len(entries) - len(people))]
    return replace(splits, notes=tuple(notes))


def is_nobody(identity: str) -> bool:
    """Whether a name stands for no identity: unknown, or junk."""
    return is_unknown(identity) or identity == JUNK


def is_unknown(identity: str) -> bool:
    """Whether a name stands for all images that nobody has told apart."""
    return identity.lower() == UNKNOWN_NAME


def _without_unknown(name: str, entries: Sequence[Entry]) -> list[Entry]:
    """The entries whose identity is known; training images without it stay if they are alone."""
    trained = [entry for entry in entries if entry.split in ("", "train")]
    alone = all(is_unknown(entry.identity) for entry in trained)
    kept = [
        entry
        for entry in entries
        if not is_unknown(entry.identity) or (alone and entry.split in ("", "train"))
    ]
    if len(kept) < len(entries):
        count = len(entries) - len(kept)
        logger.warning("own data %s: %d images of identity unknown left out", name, count)
    return kept


def _warn_of_missing_cameras(name: str, entries: Sequence[Entry]) -> None:
    missing = [entry.path for entry in entries if not entry.camera]
    if 0 < len(missing) < len(entries):
        logger.warning(
            "own data %s: %d of %d images have no camera, such as %s, so all cameras count as "
            "unknown",
            name,
            len(missing),
            len(entries),
            missing[0],
        )


def _number_entries(entries: Sequence[Entry]) -> list[Sample]:
    pids = number_names(entry.identity for entry in entries)
    cameras_known = all(entry.camera for entry in entries)
    camids = number_names(entry.camera for entry in entries)
    return [
        Sample(
            str(entry.path),
            pids[entry.identity],
            camids[entry.camera] if cameras_known else 0,
            entry.viewid,
            entry.identity,
            entry.camera if cameras_known else "",
            camera_known=cameras_known,
        )
        for entry in entries
    ]


def _find_distractors(samples: Sequence[Sample], *, always: bool) -> frozenset[int]:
    """The pids of identity 0 or 0000, unless the identities are numbered from 0."""
    names = {sample.identity for sample in samples}
    digits = len(min(names, key=len))
    if not always and names == {f"{number:0{digits}}" for number in range(len(names))}:
        return frozenset()
    return frozenset(sample.pid for sample in samples if not sample.identity.strip("0"))


def _take_given_split(
    name: str, entries: Sequence[Entry], samples: Sequence[Sample], distractors: frozenset[int]
) -> DataSplits:
    by_split: dict[str, list[Sample]] = {split: [] for split in SPLITS}
    for entry, sample in zip(entries, samples, strict=True):
        for split in SPLITS[1:] if entry.split == BOTH else [entry.split]:
            if split == "gallery" or sample.pid not in distractors:
                by_split[split].append(sample)
    return _check_given_split(name, *by_split.values())


def _describe(entries: Sequence[Entry], splits: DataSplits, junk: int) -> Iterator[str]:
    """Notes on special identities and on cameras."""
    if junk:
        yield f"{junk:,} images of identity {JUNK} left out: junk"
    background = sum(x.pid in splits.distractors for x in splits.gallery)
    elsewhere = sum(not entry.identity.strip("0") for entry in entries) - background
    if splits.distractors and elsewhere:
        yield f"{elsewhere:,} images of identity 0 left out of training and queries: distractors"
    if background:
        yield f"{background:,} gallery images of identity 0: distractors"
    both = sum(entry.split == BOTH for entry in entries)
    if both:
        yield f"{both:,} images are query and gallery, but not matches of themselves"
    if splits.query and not splits.ignore_same_camera:
        cameras = "cameras unknown"
        if all(entry.camera for entry in entries):
            several = has_cameras([*splits.query, *splits.gallery])
            cameras = "several cameras" if several else "one camera"
        yield f"{cameras}: no gallery image is left out as same-camera junk"


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


def alike_names(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Groups of distinct names that look the same to people.

    They differ only by Unicode's forms of a letter, invisible characters, case or spaces.
    """
    groups: dict[str, set[str]] = {}
    for name in names:
        text = unicodedata.normalize("NFKC", name)
        text = "".join(x for x in text if unicodedata.category(x) != "Cf")
        groups.setdefault(" ".join(text.casefold().split()), set()).add(name)
    return [tuple(sorted(group)) for group in groups.values() if len(group) > 1]


def _warn_of_alike(name: str, identities: Iterable[str]) -> None:
    alike = alike_names(identities)
    if alike:
        logger.warning(
            "own data %s: names that look the same are different identities: %s; rename one if "
            "they are one identity",
            name,
            "; ".join(" and ".join(map(ascii, group)) for group in alike[:3])
            + ("; ..." if len(alike) > 3 else ""),
        )


def _number_encounters(
    name: str, entries: Sequence[Entry], samples: Sequence[Sample]
) -> dict[Sample, int] | None:
    """The number of every image's encounter, ascending in time; None if an image has none."""
    missing = sum(not entry.encounter for entry in entries)
    if 0 < missing < len(entries):
        logger.warning(
            "own data %s: %d of %d images have no encounter or date, so none is used",
            name,
            missing,
            len(entries),
        )
    if missing:
        return None
    names = sorted({entry.encounter for entry in entries}, key=natural_order)
    numbers = {encounter: number for number, encounter in enumerate(names)}
    pairs = zip(samples, entries, strict=True)
    return {sample: numbers[entry.encounter] for sample, entry in pairs}

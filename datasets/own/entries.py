"""Own data as found on disk, and the way from there to splits."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from datasets.records import DataSplits, Sample

logger = logging.getLogger(__name__)

SPLITS = ("train", "query", "gallery")

MIN_IDENTITIES = 4
OWN_SPLIT = "give the split: folders train/, query/ and gallery/, or a CSV column 'split'"


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
    ignore_same_camera = has_cameras(samples)
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


def has_cameras(samples: Iterable[Sample]) -> bool:
    """Whether the images come from more than one camera, so that a junk rule makes sense."""
    return len({sample.camid for sample in samples}) > 1

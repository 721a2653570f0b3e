"""From images and their labels, as found on disk, to splits."""

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
    """An image as found; `camera` is None and `split` empty if not given."""

    path: Path
    identity: str
    camera: int | None
    viewid: int = 0
    split: str = ""


def assemble_splits(name: str, entries: list[Entry], *, tested_only: bool) -> DataSplits:
    """Number the identities, then take the given split, draw one, or test all identities.

    Args:
        name: of the data.
        entries: the images, all with a split or all without.
        tested_only: no model was trained on the data, so it needs no training split.
    """
    pids = number_identities(entry.identity for entry in entries)
    cameras_known = all(entry.camera is not None for entry in entries)
    by_split: dict[str, list[Sample]] = {split: [] for split in ("", *SPLITS)}
    for entry in entries:
        camid = (entry.camera or 0) if cameras_known else 0
        sample = Sample(str(entry.path), pids[entry.identity], camid, entry.viewid)
        by_split[entry.split].append(sample)
    if by_split[""]:
        split = draw_test_only if tested_only else split_own_data
        splits = split(by_split[""], name=name)
    else:
        splits = _check_given_split(name, *(by_split[split] for split in SPLITS))
    if splits.ignore_same_camera or not splits.query:
        return splits
    cameras = "one camera" if cameras_known else "cameras unknown"
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


def number_identities(names: Iterable[str]) -> dict[str, int]:
    """Number identities from 0: in numeric order if all are whole numbers, else alphabetically."""
    distinct = sorted(set(names))
    if all(name.isdecimal() for name in distinct):
        distinct.sort(key=int)
    return {name: pid for pid, name in enumerate(distinct)}


def split_own_data(
    samples: Sequence[Sample], *, name: str = "own data", seed: int = 0, train_fraction: float = 0.5
) -> DataSplits:
    """Draw a split: some identities are for training, the others for testing.

    `_draw_test` draws the queries. All draws depend on `seed` and the samples, not on their order;
    paths must differ.

    Raises:
        ValueError: fewer than four identities, or no query can be drawn.
    """
    rng = Random(seed)
    train, test = _draw_identities(samples, name, rng, train_fraction)
    note = f"split drawn with seed {seed}: {len(train)} identities train, {len(test)} test"
    return _draw_test(samples, test, rng, name, note)


def draw_test_only(
    samples: Sequence[Sample], *, name: str = "own data", seed: int = 0
) -> DataSplits:
    """Query and gallery of all identities, without training images.

    Raises:
        ValueError: no query can be drawn.
    """
    pids = sorted({sample.pid for sample in samples})
    note = f"not trained on: all {len(pids)} identities are tested, queries drawn with seed {seed}"
    return _draw_test(samples, pids, Random(seed), name, note)


def _draw_test(
    samples: Sequence[Sample], test_pids: Sequence[int], rng: Random, name: str, note: str
) -> DataSplits:
    """Draw queries; all other images of test identities are the gallery.

    One image per test identity and camera becomes a query, as long as every query keeps a match in
    the gallery: an image from another camera or, if there is only one camera, any image. Identities
    without a query are distractors.
    """
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
    return DataSplits(name, train, query, gallery, ignore_same_camera, notes=(note,))


def _draw_identities(
    samples: Sequence[Sample], name: str, rng: Random, train_fraction: float
) -> tuple[list[int], list[int]]:
    """Training and test identities, each ascending and not empty."""
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
    """One query per camera, as long as every query keeps a match among the other images."""
    left = Counter(sample.camid for sample in group)
    queries: list[Sample] = []
    for camid in sorted(left):
        images = [sample for sample in group if sample.camid == camid]
        candidate = images[int(rng.random() * len(images))]
        left[camid] -= 1
        cameras = {camid, *(query.camid for query in queries)}
        if all(left.total() - across_cameras * left[camera] > 0 for camera in cameras):
            queries.append(candidate)
        else:
            left[camid] += 1
    return queries


def has_cameras(samples: Iterable[Sample]) -> bool:
    """Whether the images are from more than one camera, so that the junk rule applies."""
    return len({sample.camid for sample in samples}) > 1

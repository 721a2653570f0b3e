"""Drawn splits of own data that come without one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from random import Random

from datasets.records import DataSplits, Sample

MIN_IDENTITIES = 4
OWN_SPLIT = "give the split: folders train/, query/ and gallery/, or a CSV column 'split'"


def split_own_data(
    samples: Sequence[Sample],
    *,
    name: str = "own data",
    seed: int = 0,
    train_fraction: float = 0.5,
    encounters: Mapping[Sample, int] | None = None,
) -> DataSplits:
    """Draw a split: some identities are for training, the others for testing.

    All draws depend on `seed` and the samples, not on their order; paths must differ.

    Args:
        samples: the images.
        name: of the data.
        seed: of the draws.
        train_fraction: of the identities.
        encounters: number of the encounter of every image, ascending in time; see `_draw_test`.

    Raises:
        ValueError: fewer than four identities, or no query can be drawn.
    """
    rng = Random(seed)
    train, test = _draw_identities(samples, name, rng, train_fraction)
    note = f"split drawn with seed {seed}: {len(train)} identities train, {len(test)} test"
    return _draw_test(DataSplits(name, [], [], [], notes=(note,)), samples, test, rng, encounters)


def draw_test_only(
    samples: Sequence[Sample],
    *,
    name: str = "own data",
    seed: int = 0,
    encounters: Mapping[Sample, int] | None = None,
) -> DataSplits:
    """Query and gallery of all identities, without training images; see `split_own_data`.

    Raises:
        ValueError: no query can be drawn.
    """
    pids = sorted({sample.pid for sample in samples})
    note = f"not trained on: all {len(pids)} identities are tested, queries drawn with seed {seed}"
    empty = DataSplits(name, [], [], [], notes=(note,))
    return _draw_test(empty, samples, pids, Random(seed), encounters)


def _draw_test(
    empty: DataSplits,
    samples: Sequence[Sample],
    test_pids: Sequence[int],
    rng: Random,
    encounters: Mapping[Sample, int] | None,
) -> DataSplits:
    """Fill empty splits: choose queries; all other images of test identities are the gallery.

    With encounters, the queries are the images of an identity's last encounter if there are earlier
    ones: images of one encounter are too much alike to be each other's match. Otherwise one image
    per test identity and camera is drawn, as long as every query keeps a match in the gallery: an
    image from another camera or, if there is only one camera, any image. Identities without a query
    are distractors.
    """
    ignore_same_camera = encounters is None and has_cameras(samples)
    train: list[Sample] = []
    groups: dict[int, list[Sample]] = {pid: [] for pid in test_pids}
    for sample in sorted(samples, key=lambda sample: sample.path):
        groups.get(sample.pid, train).append(sample)
    query: list[Sample] = []
    for group in groups.values():
        if encounters is None:
            query += _draw_queries(group, rng, across_cameras=ignore_same_camera)
        else:
            query += _last_encounter(group, encounters)
    if not query:
        images = "images from two cameras" if ignore_same_camera else "two images"
        images = images if encounters is None else "images from two encounters"
        raise ValueError(
            f"own data {empty.name}: nothing to test, none of the {len(groups)} test identities "
            f"has {images}; {OWN_SPLIT}"
        )
    drawn = set(query)
    gallery = [sample for group in groups.values() for sample in group if sample not in drawn]
    notes = empty.notes
    if encounters is not None:
        notes += (
            "queries are of an identity's last encounter, its gallery images of earlier ones",
        )
    return DataSplits(empty.name, train, query, gallery, ignore_same_camera, notes)


def _last_encounter(group: Sequence[Sample], encounters: Mapping[Sample, int]) -> list[Sample]:
    """The images of the last encounter; none if it is the only one."""
    numbers = {encounters[sample] for sample in group}
    last = max(numbers)
    return [x for x in group if len(numbers) > 1 and encounters[x] == last]


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
    by_camera: dict[int, list[Sample]] = {}
    for sample in group:
        by_camera.setdefault(sample.camid, []).append(sample)
    left = {camid: len(images) for camid, images in by_camera.items()}
    total, cameras = len(group), set[int]()
    queries: list[Sample] = []
    for camid, images in sorted(by_camera.items()):
        candidate = images[int(rng.random() * len(images))]
        left[camid] -= 1
        most = max(left[camera] for camera in {camid, *cameras}) if across_cameras else 0
        if total - 1 > most:
            queries.append(candidate)
            cameras.add(camid)
            total -= 1
        else:
            left[camid] += 1
    return queries


def has_cameras(samples: Iterable[Sample]) -> bool:
    """Whether the images are from more than one camera, so that the junk rule applies."""
    return len({sample.camid for sample in samples}) > 1

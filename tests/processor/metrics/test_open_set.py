"""Open-set identification against a slow reference, and its thresholds by hand."""

from dataclasses import replace
from functools import partial
from random import Random

import numpy as np
import pytest

from processor.metrics.distance import distmat_blocks
from processor.metrics.identities import Identities
from processor.metrics.open_set import (
    FEWEST_IDENTITIES,
    NearestByIdentity,
    OpenSet,
    _Searched,
    identify_open_set,
    nearest_by_identity,
)
from processor.metrics.working_memory import WorkingMemory


def random_case(seed, num_pids=13, num_query=60, num_gallery=90):
    rng = np.random.default_rng(seed)
    ids = [rng.integers(0, num_pids, size) for size in (num_query, num_gallery)]
    cameras = [rng.integers(0, 3, size) for size in (num_query, num_gallery)]
    distmat = rng.random((num_query, num_gallery)).astype(np.float32)
    distmat -= 0.3 * (ids[0][:, None] == ids[1])
    return distmat, Identities.check(*ids, *cameras)


def find_nearest(distmat, ids, chunk_mb=64):
    return nearest_by_identity(partial(distmat_blocks, distmat), ids, WorkingMemory(chunk_mb))


@pytest.mark.parametrize("chunk_mb", [1e-6, 64])
def test_nearest_images_of_identities_are_those_of_a_loop(chunk_mb):
    distmat, ids = random_case(0)
    nearest = find_nearest(distmat, ids, chunk_mb)
    assert nearest.identities.tolist() == sorted(set(ids.gallery_pids.tolist()))
    for query, row in enumerate(nearest.distances):
        for pid, distance in zip(nearest.identities, row, strict=True):
            counted = [
                distmat[query, image]
                for image in np.flatnonzero(ids.gallery_pids == pid)
                if pid != ids.query_pids[query]
                or ids.gallery_camids[image] != ids.query_camids[query]
            ]
            assert distance == min(counted, default=np.inf)


def slow_open_set(distmat, ids, rate, repeats):
    """Identification and false accept rates by loops over queries and gallery images."""

    def junk(query, image):
        same = ids.query_pids[query] == ids.gallery_pids[image]
        return same and ids.query_camids[query] == ids.gallery_camids[image]

    def has_match(query):
        return any(
            ids.gallery_pids[image] == ids.query_pids[query] and not junk(query, image)
            for image in range(len(ids.gallery_pids))
        )

    def nearest(query, known):
        images = [
            image
            for image in range(len(ids.gallery_pids))
            if ids.gallery_pids[image] in known and not junk(query, image)
        ]
        best = min(images, key=lambda image: distmat[query, image])
        return distmat[query, best], ids.gallery_pids[best]

    queries = range(len(ids.query_pids))
    people = sorted({int(ids.query_pids[query]) for query in queries if has_match(query)})
    quarter = len(people) // 4
    rows = []
    for repeat in range(repeats):
        drawn = Random(f"open set 0 {repeat}").sample(people, 4 * quarter)
        kinds = [set(drawn[i * quarter : (i + 1) * quarter]) for i in range(4)]
        of_kind = [[q for q in queries if ids.query_pids[q] in kind] for kind in kinds]
        strangers = sorted(nearest(q, kinds[0])[0] for q in of_kind[1])
        allowed = int(rate * len(strangers) + 1e-9)
        limit = np.nextafter(strangers[allowed], np.float32(-np.inf))
        named = [nearest(q, kinds[2]) for q in of_kind[2] if has_match(q)]
        own = [ids.query_pids[q] for q in of_kind[2] if has_match(q)]
        right = [d <= limit and name == pid for (d, name), pid in zip(named, own, strict=True)]
        accepted = [nearest(q, kinds[2])[0] <= limit for q in of_kind[3]]
        rows.append((limit, np.mean(right), np.mean(accepted)))
    return np.array(rows)


@pytest.mark.parametrize("seed", range(4))
def test_rates_are_those_of_a_loop_over_queries(seed):
    distmat, ids = random_case(seed)
    found = identify_open_set(find_nearest(distmat, ids), (0.1, 0.3), num_repeats=5)
    for rate, point in found.at_far.items():
        rows = slow_open_set(distmat, ids, rate, 5)
        assert point.threshold == pytest.approx(rows[:, 0].mean(), rel=1e-6)
        assert point.identification_rate == pytest.approx(rows[:, 1].mean())
        assert point.deviation == pytest.approx(rows[:, 1].std())
        assert point.false_accept_rate == pytest.approx(rows[:, 2].mean())


def test_separated_identities_are_all_identified_without_false_accepts():
    distances = np.where(np.eye(16, dtype=bool), 0.1, 0.9).astype(np.float32)
    nearest = NearestByIdentity(distances, np.arange(16), np.arange(16))
    point = identify_open_set(nearest, (0.1,)).at_far[0.1]
    assert (point.identification_rate, point.false_accept_rate) == (1, 0)
    assert 0.1 <= point.threshold < 0.9


def test_a_threshold_says_whether_its_rate_could_be_measured():
    nearest = find_nearest(*random_case(1))
    found = identify_open_set(nearest, (0.5, 0.001))
    assert found.num_identities == 13
    assert found.measures(0.5)
    assert not found.measures(0.001)


def test_one_false_accept_among_the_unknown_is_enough():
    found = OpenSet({}, 12, 20.0)
    assert found.measures(0.05)
    assert not found.measures(0.049)


@pytest.mark.parametrize(("rate", "limit"), [(0.0, 1), (0.25, 2), (0.74, 3), (0.75, 4)])
def test_threshold_is_just_below_the_first_unknown_that_is_too_many(rate, limit):
    found = _Searched(np.array([]), np.array([1, 2, 3, 4], dtype=np.float32)).threshold(rate)
    assert found == np.nextafter(np.float32(limit), np.float32(0))


def test_all_unknown_are_accepted_at_a_rate_of_one():
    assert _Searched(np.array([]), np.array([1, 2, 5], dtype=np.float32)).threshold(1.0) == 5


def test_distances_at_the_threshold_are_accepted():
    distances = np.full((FEWEST_IDENTITIES, FEWEST_IDENTITIES), 0.5, dtype=np.float32)
    people = np.arange(FEWEST_IDENTITIES)
    found = identify_open_set(NearestByIdentity(distances, people, people), (1.0,))
    point = found.at_far[1.0]
    assert (point.threshold, point.identification_rate, point.false_accept_rate) == (0.5, 1, 1)
    assert found.num_identities == FEWEST_IDENTITIES


def test_few_identities_have_no_open_set_rates():
    distmat, ids = random_case(2, num_pids=FEWEST_IDENTITIES - 1)
    assert identify_open_set(find_nearest(distmat, ids)) is None
    alone = replace(ids, gallery_pids=ids.gallery_pids + 100)  # no query has a match
    assert identify_open_set(find_nearest(distmat, alone)) is None

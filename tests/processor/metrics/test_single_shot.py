import itertools
import tracemalloc
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from processor.metrics.distance import distance_blocks, distmat_blocks
from processor.metrics.identities import Identities
from processor.metrics.ranking import evaluate_distmat
from processor.metrics.single_shot import NUM_REPEATS, DrawnGalleries, single_gallery_shot_cmc
from processor.metrics.working_memory import WorkingMemory


def cmc_of(distmat, *ids, ignore_same_camera=True, chunk_mb=256, **options):
    identities = Identities.check(*ids, ignore_same_camera=ignore_same_camera)
    distances = partial(distmat_blocks, np.asarray(distmat))
    return single_gallery_shot_cmc(distances, identities, WorkingMemory(chunk_mb), **options)


def drawn_images(shuffled, query_pid, query_camid, gallery_pids, gallery_camids, junk_rule):
    """Pid -> first image of it in a shuffled gallery, leaving out the query's junk."""
    drawn = {}
    for image in shuffled:
        pid = gallery_pids[image]
        junk = junk_rule and pid == query_pid and gallery_camids[image] == query_camid
        if not junk and pid not in drawn:
            drawn[pid] = image
    return drawn


def curve_of(distances, images, own, length):
    """CMC of one query in a gallery of some images, by sorting them."""
    ranked = sorted(images, key=lambda image: (distances[image], image))
    return [float(own in ranked[:rank]) for rank in range(1, length + 1)]


def slow_reference(
    distmat, query_pids, gallery_pids, query_camids, gallery_camids, junk_rule, num_repeats
):
    """Every query in every drawn gallery, one after the other; None without a valid query."""
    keys = np.random.PCG64(0).random_raw((num_repeats, len(gallery_pids)))
    length = min(50, len(set(gallery_pids.tolist())))
    curves = []
    for repeat in range(num_repeats):
        shuffled = sorted(range(len(gallery_pids)), key=lambda image: keys[repeat, image])
        for i in range(len(distmat)):
            drawn = drawn_images(
                shuffled, query_pids[i], query_camids[i], gallery_pids, gallery_camids, junk_rule
            )
            if query_pids[i] in drawn:
                own = drawn[query_pids[i]]
                curves.append(curve_of(distmat[i], drawn.values(), own, length))
    return np.mean(curves, axis=0) if curves else None


def expected_over_all_galleries(distmat, query_pids, gallery_pids, query_camids, gallery_camids):
    """Mean CMC over every gallery of one image per identity that can be drawn."""
    pids = np.unique(gallery_pids)
    curves = []
    for i in range(len(distmat)):
        junk = (gallery_pids == query_pids[i]) & (gallery_camids == query_camids[i])
        choices = [np.flatnonzero((gallery_pids == pid) & ~junk) for pid in pids]
        own = int(np.searchsorted(pids, query_pids[i]))
        galleries = itertools.product(*choices)
        of_query = [curve_of(distmat[i], images, images[own], len(pids)) for images in galleries]
        curves.append(np.mean(of_query, axis=0))
    return np.mean(curves, axis=0)


def random_ids(rng, num_query, num_gallery, num_pids, num_cameras=3):
    return (
        rng.integers(0, num_pids, num_query),
        rng.integers(0, num_pids, num_gallery),
        rng.integers(0, num_cameras, num_query),
        rng.integers(0, num_cameras, num_gallery),
    )


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    num_query=st.integers(1, 10),
    num_gallery=st.integers(1, 30),
    num_pids=st.sampled_from([1, 3, 8]),
    levels=st.sampled_from([1, 2, 5, 1000]),
    ignore_same_camera=st.booleans(),
    chunk_mb=st.sampled_from([1e-6, 0.02, 64]),
    dtype=st.sampled_from([np.float32, np.float64, np.int64]),
)
def test_agrees_with_every_repeat_computed_alone(
    seed, num_query, num_gallery, num_pids, levels, ignore_same_camera, chunk_mb, dtype
):
    rng = np.random.default_rng(seed)
    distmat = rng.integers(0, levels, (num_query, num_gallery)).astype(dtype)
    ids = random_ids(rng, num_query, num_gallery, num_pids)
    options = {"ignore_same_camera": ignore_same_camera, "chunk_mb": chunk_mb, "num_repeats": 7}
    expected = slow_reference(distmat, *ids, ignore_same_camera, 7)
    if expected is None:
        with pytest.raises(ValueError, match=f"0 of {num_query} queries"):
            cmc_of(distmat, *ids, **options)
    else:
        assert cmc_of(distmat, *ids, **options) == pytest.approx(expected, abs=1e-12)


def test_matches_a_hand_worked_case():
    """Query of pid 7 in camera 1; 0.0 is its junk, the match is at 0.3 or at 0.5.

    Pid 8 is at 0.1 or 0.9, pid 9 at 0.4: ranks are 1 + (8 at 0.1) + (match at 0.5).
    """
    distmat = [[0.0, 0.3, 0.5, 0.1, 0.9, 0.4]]
    ids = [7], [7, 7, 7, 8, 8, 9], [1], [1, 2, 2, 2, 3, 3]
    keys = np.random.PCG64(0).random_raw((NUM_REPEATS, 6))
    ranks = 1 + (keys[:, 3] < keys[:, 4]) + (keys[:, 2] < keys[:, 1])
    assert set(ranks.tolist()) == {1, 2, 3}
    expected = [np.mean(ranks <= rank) for rank in (1, 2, 3)]
    assert cmc_of(distmat, *ids).tolist() == pytest.approx(expected, abs=1e-12)


def test_same_camera_images_are_drawn_without_the_junk_rule():
    distmat, ids = [[0.0, 0.5, 0.3]], ([7], [7, 7, 8], [1], [1, 2, 2])
    assert cmc_of(distmat, *ids).tolist() == [0.0, 1.0]
    keys = np.random.PCG64(0).random_raw((NUM_REPEATS, 3))
    expected = [np.mean(keys[:, 0] < keys[:, 1]), 1.0]
    assert cmc_of(distmat, *ids, ignore_same_camera=False).tolist() == expected


def test_many_repeats_approach_the_mean_over_all_galleries():
    rng = np.random.default_rng(11)
    gallery_pids = np.array([1, 1, 1, 2, 2, 3, 3, 3, 3])
    gallery_camids = np.array([0, 1, 1, 1, 1, 0, 1, 1, 2])
    ids = np.array([1, 2, 3, 1]), gallery_pids, np.array([0, 0, 1, 2]), gallery_camids
    distmat = rng.random((4, 9))
    expected = expected_over_all_galleries(distmat, *ids)
    assert (np.diff(expected) > 0.05).all()
    assert cmc_of(distmat, *ids, num_repeats=20_000) == pytest.approx(expected, abs=0.01)


def test_one_image_per_identity_gives_the_ordinary_cmc():
    rng = np.random.default_rng(4)
    gallery_pids, query_pids = rng.permutation(30), rng.integers(0, 30, 50)
    ids = query_pids, gallery_pids, np.zeros(50, int), np.ones(30, int)
    distmat = rng.integers(0, 6, (50, 30))
    assert cmc_of(distmat, *ids) == pytest.approx(evaluate_distmat(distmat, *ids).cmc, abs=1e-12)


def test_ties_rank_in_gallery_order():
    ids = [1, 2, 3], [2, 3, 1], [0, 0, 0], [1, 1, 1]
    assert cmc_of(np.zeros((3, 3)), *ids) == pytest.approx([1 / 3, 2 / 3, 1])


def test_queries_without_a_match_do_not_count():
    """The second query's pid is absent; the third one's only image is its junk."""
    ids = [1, 5, 2], [1, 2], [0, 0, 1], [1, 1]
    assert cmc_of([[0.1, 0.2], [0.1, 0.2], [0.1, 0.2]], *ids).tolist() == [1.0, 1.0]
    assert cmc_of([[0.2, 0.1], [0.1, 0.2], [0.1, 0.2]], *ids).tolist() == [0.0, 1.0]


def test_curve_is_clipped_to_the_identities_and_to_max_rank():
    ids = [1], [1, 1, 2, 2, 3, 3], [0], [1] * 6
    distmat = [[0.9, 0.9, 0.1, 0.1, 0.2, 0.2]]
    assert cmc_of(distmat, *ids).tolist() == [0.0, 0.0, 1.0]
    assert cmc_of(distmat, *ids, max_rank=2).tolist() == [0.0, 0.0]


def test_features_score_as_their_distances():
    rng = np.random.default_rng(8)
    query, gallery = rng.integers(-2, 3, (12, 4)), rng.integers(-2, 3, (40, 4))
    ids = random_ids(rng, 12, 40, 6)
    distances = partial(
        distance_blocks, torch.from_numpy(query).float(), torch.from_numpy(gallery).float()
    )
    expected = cmc_of(((query[:, None] - gallery[None]) ** 2).sum(axis=2), *ids)
    found = single_gallery_shot_cmc(distances, Identities.check(*ids), WorkingMemory(0.02))
    assert found.tolist() == expected.tolist()


def test_draws_are_equal_on_every_machine():
    pids = np.array([5, 2, 5, 2, 5, 9])
    drawn = DrawnGalleries.draw(pids, 8)
    assert drawn.pids.tolist() == [2, 5, 9]
    expected = [
        [3, 2, 5],
        [1, 2, 5],
        [1, 2, 5],
        [3, 2, 5],
        [1, 0, 5],
        [1, 2, 5],
        [3, 0, 5],
        [1, 4, 5],
    ]
    assert drawn.positions.tolist() == expected
    assert DrawnGalleries.draw(pids, 3).positions.tolist() == expected[:3]


def test_every_image_is_drawn_equally_often():
    pids = np.array([3, 1, 3, 3, 1, 2])
    drawn = DrawnGalleries.draw(pids, 6000).positions
    shares = [np.mean(drawn[:, pid - 1] == image) for image, pid in enumerate(pids)]
    assert shares == pytest.approx([1 / 3, 1 / 2, 1 / 3, 1 / 3, 1 / 2, 1], abs=0.02)


def test_peak_memory_stays_within_the_chunk_size():
    rng = np.random.default_rng(0)
    distmat = rng.random((400, 1000), dtype=np.float32)
    ids = random_ids(rng, 400, 1000, 250, num_cameras=6)
    peaks = {}
    for chunk_mb in (4, 1000):
        tracemalloc.start()
        cmc_of(distmat, *ids, chunk_mb=chunk_mb)
        peaks[chunk_mb] = tracemalloc.get_traced_memory()[1] / 2**20
        tracemalloc.stop()
    shuffles = 1600 * 1000 / 2**20
    assert peaks[4] < 4 + shuffles
    assert peaks[1000] > 40  # a single chunk


def test_errors_name_the_bad_argument():
    ids = [7, 8], [7, 8], [1, 1], [2, 2]
    for option in ("max_rank", "num_repeats"):
        with pytest.raises(ValueError, match=f"{option}: expected at least 1, got 0"):
            cmc_of(np.zeros((2, 2)), *ids, **{option: 0})
    with pytest.raises(ValueError, match="query_camids: 1 entries for 2 query images"):
        cmc_of(np.zeros((2, 2)), ids[0], ids[1], [1], ids[3])
    with pytest.raises(ValueError, match=r"distances: expected \(2, 2\), got \(2, 3\)"):
        cmc_of(np.zeros((2, 3)), *ids)
    with pytest.raises(ValueError, match="distmat: NaN or infinite value, first in row 1"):
        cmc_of([[0.0, 1.0], [np.nan, 1.0]], *ids)
    with pytest.raises(ValueError, match=r"set TEST\.IGNORE_SAME_CAMERA False"):
        cmc_of(np.zeros((2, 2)), [7, 8], [7, 8], [2, 2], [2, 2])
    with pytest.raises(ValueError, match="no query identity occurs in the gallery"):
        cmc_of(np.zeros((2, 2)), [1, 2], [7, 8], [1, 1], [2, 2])

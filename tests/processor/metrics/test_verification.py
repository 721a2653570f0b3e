"""Error rates of thresholds agree with sorting all pairs."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from processor.metrics.distance import distance_blocks, distmat_blocks
from processor.metrics.identities import Identities
from processor.metrics.pair_counts import NONE_ACCEPTED
from processor.metrics.verification import verify
from processor.metrics.working_memory import WorkingMemory


def verified(distmat, ids, *, ignore_same_camera=True, chunk_mb=256, **options):
    identities = Identities.check(*ids, ignore_same_camera=ignore_same_camera)
    return verify(partial(distmat_blocks, distmat), identities, WorkingMemory(chunk_mb), **options)


def kept_pairs(distmat, ids, *, ignore_same_camera=True):
    """Distances of genuine and of impostor pairs, ascending."""
    query_pids, gallery_pids, query_camids, gallery_camids = map(np.asarray, ids)
    same = query_pids[:, None] == gallery_pids
    junk = same & (query_camids[:, None] == gallery_camids) & ignore_same_camera
    distmat = np.maximum(distmat, 0)
    return np.sort(distmat[same & ~junk]), np.sort(distmat[~same])


def random_ids(rng, num_query, num_gallery):
    sizes = (num_query, num_gallery)
    return [rng.integers(0, high, size) for high in (4, 3) for size in sizes]


def test_rates_match_a_hand_worked_case():
    """Genuine at 1 and 4 (2 is junk), impostors at 3, 5, 6, 7."""
    distmat = np.array([[1, 2, 3, 4, 5], [9, 9, 6, 9, 7]], dtype=np.float32)
    ids = ([1, 5], [1, 1, 2, 1, 3], [0, 0], [1, 0, 0, 2, 0])
    distmat[1, [0, 1, 3]] = 8
    found = verified(distmat, ids, rates=(0.1, 0.2, 0.5))
    assert (found.num_genuine, found.num_impostor) == (2, 2 + 5)
    assert found.at_far[0.1].tar == 0.5
    assert found.at_far[0.1].far == 0
    assert found.at_far[0.1].threshold == np.nextafter(np.float32(3), np.float32(0))
    assert (found.at_far[0.2].far, found.at_far[0.2].tar) == (1 / 7, 1)
    assert found.at_far[0.2].threshold == np.nextafter(np.float32(5), np.float32(0))
    assert found.at_far[0.5].far == pytest.approx(3 / 7)
    point = found.equal_error
    assert (point.far, point.tar) == (1 / 7, 1)  # 1/7 and 0 are closer than 1/7 and 1/2
    assert found.eer == pytest.approx(1 / 14)


@given(
    seed=st.integers(0, 2**32 - 1),
    num_query=st.integers(1, 8),
    num_gallery=st.integers(1, 40),
    levels=st.sampled_from([1, 2, 5, 1000]),
    ignore_same_camera=st.booleans(),
    chunk_mb=st.sampled_from([1e-6, 64]),
)
def test_agrees_with_sorted_pairs(
    seed, num_query, num_gallery, levels, ignore_same_camera, chunk_mb
):
    rng = np.random.default_rng(seed)
    distmat = (rng.integers(-1, levels, (num_query, num_gallery)) / 7).astype(np.float32)
    ids = random_ids(rng, num_query, num_gallery)
    rule = {"ignore_same_camera": ignore_same_camera}
    genuine, impostor = kept_pairs(distmat, ids, **rule)
    rates = (0.01, 0.1, 0.3, 0.75)
    if not len(genuine) or not len(impostor):
        with pytest.raises(ValueError):
            verified(distmat, ids, rates=rates, **rule)
        return
    found = verified(distmat, ids, rates=rates, chunk_mb=chunk_mb, **rule)
    assert (found.num_genuine, found.num_impostor) == (len(genuine), len(impostor))
    for rate, point in found.at_far.items():
        accepted = int(np.floor(np.round(rate * len(impostor), 9)))
        limit = impostor[accepted]  # the first that must not be accepted
        assert point.far == np.mean(impostor < limit) <= rate
        assert point.tar == np.mean(genuine < limit)
        if limit == 0:
            assert point.threshold == NONE_ACCEPTED
        else:
            assert point.threshold == np.nextafter(limit, np.float32(-1))
    limits = np.unique([*genuine, *impostor])
    limits = np.concatenate([[-1], limits])
    differences = [abs(np.mean(impostor <= x) - np.mean(genuine > x)) for x in limits]
    point = found.equal_error
    assert abs(point.far - (1 - point.tar)) == pytest.approx(min(differences), abs=1e-12)
    assert point.far == np.mean(impostor <= point.threshold)
    assert point.tar == np.mean(genuine <= point.threshold)


@pytest.mark.parametrize("name", ["tiny", "small", "junk_novalid"])
def test_rates_agree_with_the_originals_curve(golden, name):
    """The original's curve treats impostors as positives and large distances as high scores.

    Its value at 1e-2 is the share of impostors farther than the n-th farthest genuine pair, where n
    is the whole number nearest to 1e-2 of the genuine pairs; 0 for n = 0.
    """
    arrays = golden("evaluation_small")
    ids = [arrays[f"rank/{name}/{key}"] for key in ("q_pids", "g_pids", "q_cams", "g_cams")]
    distmat = arrays[f"rank/{name}/distmat"]
    num_genuine, num_impostor = arrays[f"rank/{name}/roc_pos_neg_count"].tolist()
    beyond = arrays[f"rank/{name}/roc_tpr_at_fpr_1e-4_1e-3_1e-2"][2]
    rejected = round(1e-2 * num_genuine)
    if not rejected:
        assert beyond == 0
        assert verified(distmat, ids).num_genuine == num_genuine
        return
    including, excluding = (1 - beyond + step / num_impostor for step in (1e-3, -1 + 1e-3))
    found = verified(distmat, ids, rates=(including, excluding))
    assert (found.num_genuine, found.num_impostor) == (num_genuine, num_impostor)
    assert found.at_far[including].far == pytest.approx(1 - beyond, abs=1e-12)
    assert found.at_far[including].tar >= 1 - (rejected - 1) / num_genuine - 1e-12
    assert found.at_far[excluding].tar <= 1 - rejected / num_genuine + 1e-12


def test_thresholds_separate_neighbouring_floats():
    """All distances have equal upper bits, so that the first pass cannot separate them."""
    start = np.float32(0.7).view(np.int32)
    distances = (start + np.arange(8)).astype(np.int32).view(np.float32)[None]
    pids = [1, 1, 2, 1, 2, 3, 1, 4]
    found = verified(distances, ([1], pids, [0], [1] * 8), rates=(0.1, 0.3, 0.6))
    assert [point.tar for point in found.at_far.values()] == [0.5, 0.75, 0.75]
    assert [point.far for point in found.at_far.values()] == [0, 0.25, 0.5]
    thresholds = [point.threshold for point in found.at_far.values()]
    assert thresholds == [float(distances[0, place]) for place in (1, 3, 4)]


def test_a_rate_is_measured_with_thirty_false_accepts():
    rng = np.random.default_rng(0)
    distmat = rng.random((10, 330)).astype(np.float32)
    gallery_pids = np.arange(330) % 11
    found = verified(distmat, (np.arange(10), gallery_pids, np.zeros(10), np.ones(330)))
    assert found.num_impostor == 3000
    assert found.measures(1e-2)  # 30 errors
    assert not found.measures(9e-3)


def test_errors_say_which_pairs_are_missing():
    with pytest.raises(ValueError, match="0 of 1 queries have a match"):
        verified(np.ones((1, 2)), ([1], [2, 3], [0], [1, 1]))
    with pytest.raises(ValueError, match="no pair of two identities"):
        verified(np.ones((1, 2)), ([1], [1, 1], [0], [1, 1]))
    with pytest.raises(ValueError, match="expected above 0 and below 1, got 1"):
        verified(np.ones((1, 2)), ([1], [1, 2], [0], [1, 1]), rates=(1,))


def test_a_pair_of_images_on_both_sides_counts_once():
    """Everybody against everybody, two gallery images that are no queries, one query outside."""
    rng = np.random.default_rng(0)
    features = torch.from_numpy(rng.standard_normal((12, 4))).float()
    pids = rng.integers(0, 4, 12)
    query, gallery = [0, 1, 2, 3, 4, 5, 11], [5, 4, 3, 2, 1, 0, 9, 10]
    places = [gallery.index(x) if x in gallery else -1 for x in query]
    camids = [np.zeros(len(side), dtype=int) for side in (query, gallery)]
    ids = Identities.check(pids[query], pids[gallery], *camids, ignore_same_camera=False)
    ids = replace(ids, own_places=np.array(places))
    source = partial(distance_blocks, features[query], features[gallery])
    found = verify(source, ids, WorkingMemory(64))
    pairs = {frozenset((q, g)) for q in query for g in gallery if q != g}
    genuine = sum(pids[a] == pids[b] for a, b in map(tuple, pairs))
    assert (found.num_genuine, found.num_impostor) == (genuine, len(pairs) - genuine)

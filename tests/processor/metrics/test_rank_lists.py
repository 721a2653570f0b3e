"""Rank lists have the distances, the junk rule and the order of ties of the metrics."""

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from processor.evaluation import evaluate_distmat, evaluate_features
from processor.metrics.distance import distance_blocks, distmat_blocks
from processor.metrics.identities import Identities
from processor.metrics.rank_lists import choose_queries, find_rankings
from processor.metrics.working_memory import WorkingMemory


def rankings_of(distmat, ids, *, ignore_same_camera=True, chunk_mb=256, **options):
    identities = Identities.check(*ids, ignore_same_camera=ignore_same_camera)
    return find_rankings(
        partial(distmat_blocks, distmat), identities, WorkingMemory(chunk_mb), **options
    )


def kinds(rank_list):
    """(gallery position, "m" = match, "j" = junk, "." = other identity) of each entry."""
    return [(e.index, "j" if e.junk else "m" if e.match else ".") for e in rank_list.entries]


# query 0: pid 7, camera 1
DISTMAT = np.array([[0.5, 0.1, 0.2, 0.3, 0.4, 0.6, 0.7]], dtype=np.float32)
IDS = ([7], [7, 7, 9, 7, 7, -1, 7], [1], [2, 1, 1, 1, 3, 1, 1])


def test_junk_is_listed_by_distance_and_does_not_count():
    rankings = rankings_of(DISTMAT, IDS, top=3)
    rank_list = rankings.rank_list(0)
    assert kinds(rank_list) == [(1, "j"), (2, "."), (3, "j"), (4, "m"), (0, "m")]
    distances = [entry.distance for entry in rank_list.entries]
    assert distances == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    assert rank_list.average_precision == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert rank_list.first_match == 2
    assert rank_list.num_junk == 3


def test_junk_after_the_last_counted_image_is_not_listed():
    assert kinds(rankings_of(DISTMAT, IDS, top=1).rank_list(0)) == [(1, "j"), (2, ".")]
    whole = kinds(rankings_of(DISTMAT, IDS, top=99).rank_list(0))
    assert whole[-2:] == [(5, "."), (6, "j")]
    assert len(whole) == 7


def test_only_the_nearest_junk_is_listed():
    rank_list = rankings_of(DISTMAT, IDS, top=3, most_junk=1).rank_list(0)
    assert kinds(rank_list) == [(1, "j"), (2, "."), (4, "m"), (0, "m")]
    assert rank_list.num_junk == 3
    without = rankings_of(DISTMAT, IDS, top=3, most_junk=0).rank_list(0)
    assert kinds(without) == [(2, "."), (4, "m"), (0, "m")]


def test_without_the_junk_rule_nothing_is_junk():
    rank_list = rankings_of(DISTMAT, IDS, top=2, ignore_same_camera=False).rank_list(0)
    assert kinds(rank_list) == [(1, "m"), (2, ".")]
    assert rank_list.num_junk == 0


def test_a_query_without_a_match_has_a_list_but_no_score():
    rankings = rankings_of(np.array([[0.2, 0.1], [0.3, 0.4]]), ([5, 1], [1, 2], [0, 0], [1, 1]))
    assert rankings.rank_list(0).average_precision is None
    assert rankings.rank_list(0).first_match is None
    assert kinds(rankings.rank_list(0)) == [(1, "."), (0, ".")]
    assert rankings.rank_list(1).average_precision == 1


def test_ties_rank_in_gallery_order():
    ids = ([1], [2, 3, 1, 4, 5, 6], [0], [1] * 6)
    rank_list = rankings_of(np.zeros((1, 6)), ids, top=4).rank_list(0)
    assert [entry.index for entry in rank_list.entries] == [0, 1, 2, 3]


@given(
    seed=st.integers(0, 2**32 - 1),
    num_query=st.integers(1, 10),
    num_gallery=st.integers(1, 40),
    levels=st.sampled_from([2, 5, 1000]),
    ignore_same_camera=st.booleans(),
    top=st.sampled_from([1, 3, 50]),
    chunk_mb=st.sampled_from([1e-6, 64]),
)
def test_every_list_agrees_with_the_metrics(
    seed, num_query, num_gallery, levels, ignore_same_camera, top, chunk_mb
):
    rng = np.random.default_rng(seed)
    distmat = rng.integers(0, levels, (num_query, num_gallery)).astype(np.float32)
    sizes = (num_query, num_gallery)
    ids = [rng.integers(0, high, size) for high in (4, 3) for size in sizes]
    rule = {"ignore_same_camera": ignore_same_camera}
    rankings = rankings_of(distmat, ids, top=top, most_junk=99, chunk_mb=chunk_mb, **rule)
    for query in range(num_query):
        rank_list = rankings.rank_list(query)
        alone = [ids[0][query : query + 1], ids[1], ids[2][query : query + 1], ids[3]]
        counted = [entry for entry in rank_list.entries if not entry.junk]
        assert len(counted) == min(top, num_gallery - rank_list.num_junk)
        if rank_list.average_precision is None:
            with pytest.raises(ValueError, match="0 of 1 queries"):
                evaluate_distmat(distmat[query : query + 1], *alone, **rule)
            continue
        metrics = evaluate_distmat(distmat[query : query + 1], *alone, **rule)
        assert rank_list.average_precision == pytest.approx(metrics.mAP, abs=1e-12)
        assert float(counted[0].match) == metrics.rank(1)
        assert any(entry.match for entry in counted) == metrics.rank(top)
        ranks = [rank for rank, entry in enumerate(counted, start=1) if entry.match]
        assert ranks[:1] == [rank_list.first_match][: len(ranks)]
        assert metrics.rank(rank_list.first_match) == 1
        expected = distmat[query].argsort(kind="stable")
        shown = [entry.index for entry in rank_list.entries]
        assert shown == expected[: len(shown)].tolist()


def test_lists_of_features_agree_with_the_evaluation():
    rng = np.random.default_rng(0)
    query, gallery = (torch.from_numpy(rng.random((n, 16), dtype=np.float32)) for n in (60, 300))
    ids = [rng.integers(0, high, n) for high in (12, 4) for n in (60, 300)]
    source = partial(distance_blocks, query, gallery)
    rankings = find_rankings(source, Identities.check(*ids), WorkingMemory(0.02), top=5)
    metrics = evaluate_features(query, gallery, *ids)
    lists = [rankings.rank_list(number) for number in range(60)]
    scores = [x.average_precision for x in lists if x.average_precision is not None]
    firsts = [
        next(entry.match for entry in x.entries if not entry.junk)
        for x in lists
        if x.average_precision is not None
    ]
    assert np.mean(scores) == pytest.approx(metrics.mAP, abs=1e-12)
    assert np.mean(firsts) == metrics.rank(1)
    exact = (query.double()[:, None] - gallery.double()[None]).square().sum(dim=2)
    for number, rank_list in enumerate(lists):
        assert rank_list.query == number
        for entry in rank_list.entries:
            assert entry.distance == pytest.approx(float(exact[number, entry.index]), abs=1e-5)


def test_chosen_queries_are_in_the_requested_order():
    scores = np.array([0.5, np.nan, 1.0, 0.5, 0.0])
    assert choose_queries(scores, "best", 3, range(5)) == [2, 0, 3]
    assert choose_queries(scores, "worst", 9, range(5)) == [4, 0, 3, 2]
    assert choose_queries(scores, "worst", 2, [1, 2, 3]) == [3, 2]
    drawn = choose_queries(scores, "random", 3, range(5), seed=4)
    assert drawn == choose_queries(scores, "random", 3, range(5), seed=4)
    assert len(set(drawn)) == 3
    assert sorted(choose_queries(scores, "random", 9, range(5))) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("limits", [{"top": 0}, {"most_junk": -1}])
def test_bad_limits_are_rejected(limits):
    with pytest.raises(ValueError, match=next(iter(limits))):
        rankings_of(DISTMAT, IDS, **limits)

import subprocess
import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from processor.evaluation import RetrievalMetrics, evaluate_distmat, evaluate_features
from processor.metrics import ordering
from processor.metrics.distance import distmat_blocks
from processor.metrics.identities import Identities
from processor.metrics.ranking import evaluate_blocks
from processor.metrics.working_memory import WorkingMemory

GOLDEN = Path(__file__).parents[2] / "golden" / "evaluation_small.npz"
CASES = ("tiny", "small", "junk_novalid", "ragged")


def slow_reference(distmat, query_pids, gallery_pids, query_camids, gallery_camids, **options):
    """CMC, mAP and mINP from a full stable sort of every row; None without a valid query."""
    length = min(options.get("max_rank", 50), distmat.shape[1])
    curves, precisions, penalties = [], [], []
    for i in range(len(distmat)):
        order = np.argsort(distmat[i], kind="stable")
        same_pid = gallery_pids[order] == query_pids[i]
        kept = np.ones(len(order), dtype=bool)
        if options.get("ignore_same_camera", True):
            kept = ~(same_pid & (gallery_camids[order] == query_camids[i]))
        hits = same_pid[kept]
        if not hits.any():
            continue
        places = np.flatnonzero(hits) + 1
        curves.append([float((places <= r).any()) for r in range(1, length + 1)])
        precisions.append(np.mean(np.arange(1, len(places) + 1) / places))
        penalties.append(len(places) / places[-1])
    if not curves:
        return None
    return np.mean(curves, axis=0), np.mean(precisions), np.mean(penalties), len(curves)


def assert_agrees(scores, expected):
    cmc, mean_precision, mean_penalty, num_valid = expected
    assert scores.cmc == pytest.approx(cmc, abs=1e-12)
    assert scores.mAP == pytest.approx(mean_precision, abs=1e-12)
    assert scores.mINP == pytest.approx(mean_penalty, abs=1e-12)
    assert scores.num_valid_queries == num_valid


def random_ids(rng, num_query, num_gallery, num_pids=4, num_cameras=3):
    return (
        rng.integers(0, num_pids, num_query),
        rng.integers(0, num_pids, num_gallery),
        rng.integers(0, num_cameras, num_query),
        rng.integers(0, num_cameras, num_gallery),
    )


@dataclass
class FeatureCase:
    query: torch.Tensor
    gallery: torch.Tensor
    ids: tuple


@pytest.fixture
def case():
    rng = np.random.default_rng(5)
    features = rng.standard_normal((90, 16)).astype(np.float32)
    ids = random_ids(rng, 20, 70, num_pids=9)
    return FeatureCase(torch.from_numpy(features[:20]), torch.from_numpy(features[20:]), ids)


@pytest.fixture
def mixed_ids():
    """Ids of 2 queries and 4 gallery images; both queries have a match."""
    return [7, 8], [7, 7, 9, 8], [1, 1], [1, 2, 2, 3]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("as_tensor", [False, True])
def test_scores_equal_the_originals(name, as_tensor):
    golden = np.load(GOLDEN)
    part = {key: golden[f"rank/{name}/{key}"] for key in ("cmc", "mAP", "max_rank")}
    arrays = [
        golden[f"rank/{name}/{key}"] for key in ("distmat", "q_pids", "g_pids", "q_cams", "g_cams")
    ]
    if as_tensor:
        arrays = [torch.from_numpy(array) for array in arrays]
    scores = evaluate_distmat(*arrays, max_rank=int(part["max_rank"]))
    assert scores.cmc.shape == part["cmc"].shape
    assert scores.cmc == pytest.approx(part["cmc"], abs=1e-6)
    assert scores.mAP == pytest.approx(float(part["mAP"]), abs=1e-9)
    if name != "ragged":
        assert scores.mINP == pytest.approx(float(golden[f"rank/{name}/mINP"]), abs=1e-9)
        penalties = golden[f"rank/{name}/fastreid_INP_per_valid_query"]
        assert scores.num_valid_queries == len(penalties)


def test_cmc_keeps_its_last_value_where_junk_shortens_a_ranking():
    golden = np.load(GOLDEN)
    keys = ("distmat", "q_pids", "g_pids", "q_cams", "g_cams")
    scores = evaluate_distmat(*(golden[f"rank/ragged/{key}"] for key in keys), max_rank=50)
    expected = golden["rank/ragged/cmc"]
    assert scores.cmc.shape == (7,)
    assert scores.cmc[:5] == pytest.approx(expected, abs=1e-6)
    assert scores.cmc[5:] == pytest.approx(1.0)


def test_junk_rule_drops_same_camera_matches():
    distmat = np.array([[0.0, 0.1, 0.2, 0.3]], dtype=np.float32)
    scores = evaluate_distmat(distmat, [7], [7, 7, 9, 7], [1], [1, 2, 2, 3])
    assert scores.mAP == pytest.approx((1 / 1 + 2 / 3) / 2)  # hits at ranks 1 and 3 of three
    assert scores.mINP == pytest.approx(2 / 3)
    assert scores.cmc.tolist() == [1.0] * 4


def test_same_camera_matches_count_without_the_junk_rule():
    distmat = np.array([[0.0, 0.1, 0.2, 0.3]])
    scores = evaluate_distmat(
        distmat, [7], [7, 7, 9, 7], [1], [1, 2, 2, 3], ignore_same_camera=False
    )
    assert scores.mAP == pytest.approx((1 + 1 + 3 / 4) / 3)


def test_junk_rule_keeps_other_identities_of_the_camera():
    distmat = np.array([[0.0, 0.5]])
    scores = evaluate_distmat(distmat, [7], [9, 7], [1], [1, 2])
    assert scores.mAP == pytest.approx(1 / 2)
    assert scores.cmc.tolist() == [0.0, 1.0]


def test_ties_rank_in_gallery_order():
    scores = evaluate_distmat(np.zeros((2, 3)), [1, 2], [1, 3, 2], [0, 0], [1, 1, 1])
    assert scores.mAP == pytest.approx((1 + 1 / 3) / 2)
    assert scores.cmc.tolist() == [0.5, 0.5, 1.0]


def test_queries_without_a_match_do_not_count():
    distmat = np.array([[0.1, 0.2], [0.1, 0.2], [0.2, 0.1]])
    scores = evaluate_distmat(distmat, [1, 5, 1], [1, 2], [0, 0, 1], [1, 1])
    assert (scores.num_queries, scores.num_valid_queries) == (3, 1)
    assert scores.mAP == 1.0


def test_cmc_is_clipped_to_the_gallery():
    distmat = np.array([[0.5, 0.4, 0.3, 0.2, 0.1]])
    scores = evaluate_distmat(distmat, [1], [1, 2, 3, 4, 5], [0], [1] * 5)
    assert scores.cmc.tolist() == [0.0, 0.0, 0.0, 0.0, 1.0]
    assert scores.rank(5) == scores.rank(10) == scores.rank(20) == 1.0
    assert scores.rank(1) == 0.0


@settings(max_examples=120, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    num_query=st.integers(1, 12),
    num_gallery=st.integers(1, 40),
    levels=st.sampled_from([1, 2, 5, 1000]),
    num_pids=st.sampled_from([1, 3, 20]),
    ignore_same_camera=st.booleans(),
    max_rank=st.sampled_from([1, 5, 50]),
    dtype=st.sampled_from([np.float32, np.float64, np.int64]),
)
def test_agrees_with_a_full_sort(
    seed, num_query, num_gallery, levels, num_pids, ignore_same_camera, max_rank, dtype
):
    rng = np.random.default_rng(seed)
    distmat = (rng.integers(0, levels, (num_query, num_gallery)) - levels // 2).astype(dtype)
    ids = random_ids(rng, num_query, num_gallery, num_pids)
    options = {"ignore_same_camera": ignore_same_camera, "max_rank": max_rank}
    expected = slow_reference(distmat, *ids, **options)
    if expected is None:
        with pytest.raises(ValueError, match=f"0 of {num_query} queries"):
            evaluate_distmat(distmat, *ids, **options)
    else:
        assert_agrees(evaluate_distmat(distmat, *ids, **options), expected)


def test_neighbouring_floats_are_not_ties():
    base = np.float32(0.7)
    above = np.nextafter(base, np.float32(1))
    distmat = np.array([[above, base, above, base]], dtype=np.float32)
    ids = ([1], [2, 2, 1, 1], [0], [1, 1, 1, 1])
    scores = evaluate_distmat(distmat, *map(np.asarray, ids))
    assert scores.mAP == pytest.approx((1 / 2 + 2 / 4) / 2)


def test_ties_are_broken_in_chunks(monkeypatch):
    rng = np.random.default_rng(2)
    distmat = rng.integers(0, 3, (9, 50))
    ids = random_ids(rng, 9, 50)
    monkeypatch.setattr(ordering, "TIE_ENTRIES", 100)
    assert_agrees(evaluate_distmat(distmat, *ids), slow_reference(distmat, *ids))


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_feature_scores_agree_with_a_sort_of_their_distances(case, metric):
    query, gallery = case.query.double(), case.gallery.double()
    if metric == "euclidean":
        distmat = (query[:, None] - gallery[None]).square().sum(dim=2)
    else:
        distmat = 1 - torch.nn.functional.cosine_similarity(query[:, None], gallery[None], dim=2)
    expected = slow_reference(distmat.numpy(), *case.ids)
    assert_agrees(evaluate_features(case.query, case.gallery, *case.ids, metric=metric), expected)


def test_arrays_and_lists_score_as_tensors(case):
    expected = evaluate_features(case.query, case.gallery, *map(torch.from_numpy, case.ids))
    given = [ids.tolist() for ids in case.ids]
    scores = evaluate_features(case.query.numpy(), case.gallery.double().numpy(), *given)
    assert (scores.mAP, scores.mINP) == (expected.mAP, expected.mINP)


def test_normalized_euclidean_ranks_as_cosine(case):
    cosine = evaluate_features(case.query, case.gallery, *case.ids, metric="cosine")
    scores = evaluate_features(case.query, case.gallery, *case.ids, normalize=True)
    assert scores.mAP == pytest.approx(cosine.mAP, abs=1e-12)
    plain = evaluate_features(case.query, case.gallery, *case.ids)
    assert plain.mAP != pytest.approx(cosine.mAP, abs=1e-6)


@pytest.mark.parametrize("chunk_mb", [1e-6, 0.005, 0.02, 1000])
def test_scores_do_not_depend_on_the_chunk_size(case, chunk_mb):
    expected = evaluate_features(case.query, case.gallery, *case.ids)
    scores = evaluate_features(case.query, case.gallery, *case.ids, chunk_mb=chunk_mb)
    assert scores.cmc.tolist() == expected.cmc.tolist()
    assert (scores.mAP, scores.mINP) == pytest.approx((expected.mAP, expected.mINP), abs=1e-12)
    distmat = torch.cdist(case.query, case.gallery)
    whole = evaluate_distmat(distmat, *case.ids)
    chunked = evaluate_distmat(distmat, *case.ids, chunk_mb=chunk_mb)
    assert (chunked.mAP, chunked.mINP) == pytest.approx((whole.mAP, whole.mINP), abs=1e-12)


def test_arguments_are_not_modified(case):
    distmat = torch.cdist(case.query, case.gallery).numpy()
    before = distmat.copy()
    distmat.setflags(write=False)
    evaluate_distmat(distmat, *case.ids)
    evaluate_distmat(np.asfortranarray(distmat), *case.ids)
    assert (distmat == before).all()


MEMORY_SCRIPT = """
import sys
from pathlib import Path
import numpy as np, torch
from processor.evaluation import evaluate_features

def peak_kb():
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0])

torch.set_num_threads(1)
rng = np.random.default_rng(0)
query, gallery = (torch.from_numpy(rng.random((n, 8), dtype=np.float32)) for n in (3000, 20000))
pids, camids = ([rng.integers(0, high, n) for n in (3000, 20000)] for high in (2000, 6))
evaluate_features(query[:50], gallery, pids[0][:50], pids[1], camids[0][:50], camids[1])
before = peak_kb()
evaluate_features(query, gallery, *pids, *camids, chunk_mb=16)
sys.stdout.write(str(peak_kb() - before))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_peak_memory_stays_near_the_chunk_size():
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", MEMORY_SCRIPT], cwd=root, capture_output=True, text=True, check=True
    )
    extra_mb = int(done.stdout) / 1024
    assert 2 < extra_mb < 40  # the whole matrix would take 240


def test_error_without_a_shared_identity_names_the_pids():
    text = (
        r"0 of 2 queries have a match: no query identity occurs in the gallery; "
        r"pids in the query \{1, 2\}, in the gallery \{3, 4\}"
    )
    with pytest.raises(ValueError, match=text):
        evaluate_distmat(np.zeros((2, 2)), [1, 2], [3, 4], [0, 0], [1, 1])


def test_error_without_a_valid_match_names_the_cameras():
    text = (
        r"0 of 2 queries have a gallery image of the same identity from another camera; cameras in "
        r"the query \{0\}, in the gallery \{0\}; set TEST.IGNORE_SAME_CAMERA False or give camera"
    )
    with pytest.raises(ValueError, match=text):
        evaluate_distmat(np.zeros((2, 3)), [1, 2], [1, 2, 3], [0, 0], [0, 0, 0])


def test_long_id_lists_are_shortened_in_the_error():
    with pytest.raises(ValueError, match=r"\{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, \.\.\.\}"):
        evaluate_distmat(np.zeros((30, 1)), range(30), [99], [0] * 30, [0])


@pytest.mark.parametrize(
    ("position", "values", "text"),
    [
        (0, [7], "query_pids: 1 entries for 2 query images"),
        (1, [7, 7, 9], "gallery_pids: 3 entries for 4 gallery images"),
        (2, [1, 1, 1], "query_camids: 3 entries for 2 query images"),
        (3, [], "gallery_camids: 0 entries for 4 gallery images"),
        (0, [0.5, 1.0], "query_pids: expected one integer per image, got float64"),
        (1, [[7, 7, 9, 8]], "gallery_pids: expected one integer per image"),
    ],
)
def test_errors_name_the_bad_id_array(mixed_ids, position, values, text):
    ids = list(mixed_ids)
    ids[position] = values
    with pytest.raises(ValueError, match=text):
        evaluate_distmat(np.zeros((2, 4)), *ids)
    with pytest.raises(ValueError, match=text):
        evaluate_features(torch.ones(2, 3), torch.ones(4, 3), *ids)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_errors_name_the_first_non_finite_row(mixed_ids, bad):
    distmat = np.zeros((2, 4))
    distmat[1, 2] = bad
    with pytest.raises(ValueError, match="distmat: NaN or infinite value, first in row 1"):
        evaluate_distmat(distmat, *mixed_ids)
    with pytest.raises(ValueError, match="first in row 1"):
        evaluate_distmat(distmat, *mixed_ids, chunk_mb=1e-6)
    features = torch.ones(4, 3)
    features[3, 0] = bad
    with pytest.raises(ValueError, match="gallery_features: NaN or infinite value, first in row 3"):
        evaluate_features(torch.ones(2, 3), features, *mixed_ids)


def test_errors_name_the_array_of_wrong_shape(mixed_ids):
    with pytest.raises(ValueError, match=r"distmat: expected a \(Q, G\) matrix .* got \(2,\)"):
        evaluate_distmat(np.zeros(2), *mixed_ids)
    with pytest.raises(ValueError, match=r"distmat: .* got \(0, 4\)"):
        evaluate_distmat(np.zeros((0, 4)), [], mixed_ids[1], [], mixed_ids[3])
    with pytest.raises(ValueError, match="query_features: empty"):
        evaluate_features(torch.ones(0, 3), torch.ones(4, 3), [], mixed_ids[1], [], mixed_ids[3])


def test_bad_options_are_rejected(mixed_ids):
    with pytest.raises(ValueError, match="metric: unknown 'l1'"):
        evaluate_features(torch.ones(2, 3), torch.ones(4, 3), *mixed_ids, metric="l1")
    with pytest.raises(ValueError, match="max_rank: expected at least 1, got 0"):
        evaluate_distmat(np.zeros((2, 4)), *mixed_ids, max_rank=0)


def test_str_prints_clip_reids_lines():
    cmc = np.array([0.951] + [0.982] * 8 + [0.9909])
    scores = RetrievalMetrics(cmc, 0.8861, 0.61, num_queries=5, num_valid_queries=4)
    assert str(scores).splitlines() == [
        "mAP: 88.6%",
        "CMC curve, Rank-1  :95.1%",
        "CMC curve, Rank-5  :98.2%",
        "CMC curve, Rank-10 :99.1%",
        "valid queries: 4 of 5",
    ]
    assert (scores.rank(1), scores.rank(99)) == (0.951, 0.9909)
    with pytest.raises(ValueError, match="counts from 1"):
        scores.rank(0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_agrees_with_the_cpu(case):
    expected = evaluate_features(case.query, case.gallery, *case.ids)
    scores = evaluate_features(case.query.cuda(), case.gallery.cuda(), *case.ids)
    assert (scores.mAP, scores.mINP) == pytest.approx((expected.mAP, expected.mINP), abs=1e-9)
    tied = torch.cdist(case.query, case.gallery).round()
    expected = slow_reference(tied.numpy(), *case.ids)
    assert_agrees(evaluate_distmat(tied.cuda(), *case.ids), expected)


@pytest.mark.parametrize("kind", ["float32", "float64", "tensor"])
def test_equal_integer_distances_rank_in_gallery_order(kind):
    """Integer features have exact distances, so that features rank as their matrix."""
    rng = np.random.default_rng(5)
    for _ in range(20):
        query, gallery = rng.integers(-2, 3, (6, 4)), rng.integers(-2, 3, (20, 4))
        ids = random_ids(rng, 6, 20)
        distmat = ((query[:, None] - gallery[None]) ** 2).sum(-1)
        given = [
            torch.tensor(x).float() if kind == "tensor" else x.astype(kind)
            for x in (query, gallery)
        ]
        found, expected = evaluate_features(*given, *ids), evaluate_distmat(distmat, *ids)
        assert found.mAP == pytest.approx(expected.mAP, abs=1e-12)
        assert found.mINP == pytest.approx(expected.mINP, abs=1e-12)


def test_float_ids_must_be_whole_numbers():
    ids = [np.array([1.0]), np.array([1.0, 2.0]), np.zeros(1), np.ones(2)]
    assert evaluate_distmat(np.array([[0.1, 0.2]]), *ids).mAP == 1
    ids[2] = np.array([0.5])
    with pytest.raises(ValueError, match=r"query_camids: expected one integer per image"):
        evaluate_distmat(np.array([[0.1, 0.2]]), *ids)


@pytest.mark.parametrize("chunk_mb", [1e-6, 0.01, 64])
def test_distance_blocks_score_as_their_matrix(chunk_mb):
    rng = np.random.default_rng(3)
    distmat = rng.integers(0, 9, (12, 60)).astype(np.float32)
    ids = random_ids(rng, 12, 60)
    source = partial(distmat_blocks, distmat)
    identities = Identities.check(*ids, ignore_same_camera=False)
    found = evaluate_blocks(source, identities, WorkingMemory(chunk_mb), max_rank=7)
    expected = slow_reference(distmat, *ids, ignore_same_camera=False, max_rank=7)
    assert_agrees(found, expected)
    assert found.num_queries == 12


def test_errors_of_distance_blocks(mixed_ids):
    def evaluate(shape, *ids):
        evaluate_blocks(
            partial(distmat_blocks, np.zeros(shape)), Identities.check(*ids), WorkingMemory()
        )

    with pytest.raises(ValueError, match="0 of 2 queries have a match"):
        evaluate((2, 2), [1, 2], [3, 4], [0, 0], [1, 1])
    with pytest.raises(ValueError, match="0 of 0 queries"):
        evaluate((0, 1), [], [3], [], [1])
    with pytest.raises(ValueError, match="query_camids: 1 entries for 2 query images"):
        evaluate((2, 4), *mixed_ids[:2], [1], mixed_ids[3])
    with pytest.raises(ValueError, match=r"distances: expected \(2, 4\), got \(2, 3\)"):
        evaluate((2, 3), *mixed_ids)


def test_means_of_identities_are_over_their_queries_with_a_match(case):
    found = evaluate_features(case.query, case.gallery, *case.ids)
    distmat = torch.cdist(case.query, case.gallery).square().numpy()
    query_pids, gallery_pids, query_camids, gallery_camids = case.ids
    expected = {}
    for pid in np.unique(query_pids):
        mine = query_pids == pid
        ids = (query_pids[mine], gallery_pids, query_camids[mine], gallery_camids)
        expected[int(pid)] = slow_reference(distmat[mine], *ids)[1]
    assert found.by_pid == pytest.approx(expected, abs=1e-12)


def test_an_image_in_query_and_gallery_is_not_its_own_match(case):
    """Everybody searches for everybody else: as if the image were not in the gallery."""
    distmat = torch.cdist(case.gallery, case.gallery).square().numpy()
    pids, cameras = case.ids[1], case.ids[3]
    ids = Identities.check(pids, pids, cameras, cameras, ignore_same_camera=False)
    ids = replace(ids, own_places=np.arange(len(pids)))
    found = evaluate_blocks(partial(distmat_blocks, distmat), ids, WorkingMemory(64))
    scores = []
    for i in range(len(pids)):
        rest = np.arange(len(pids)) != i
        one = (pids[i : i + 1], pids[rest], cameras[i : i + 1], cameras[rest])
        scores.append(slow_reference(distmat[i : i + 1, rest], *one, ignore_same_camera=False)[1])
    assert found.mAP == pytest.approx(np.mean(scores), abs=1e-12)

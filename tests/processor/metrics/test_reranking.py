import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from processor.evaluation import rerank
from processor.metrics import k_reciprocal, memory_limits, reranking
from processor.metrics.k_reciprocal import Reranking, find_neighbourhood
from processor.metrics.reranking import rerank_blocks
from processor.metrics.working_memory import WorkingMemory


def mutual(order, i, k):
    """Mutual neighbours of image i among the first k + 1."""
    return {j for j in order[i, : k + 1] if i in order[j, : k + 1]}


def slow_reference(query, gallery, k1, k2, lambda_value):
    """The definition with dense (N, N) matrices in float64."""
    features = np.concatenate([query, gallery]).astype(np.float64)
    num_query, num_images = len(query), len(features)
    squares = (features**2).sum(axis=1)
    original = squares[:, None] + squares[None] - 2 * features @ features.T
    original /= original.max(axis=1, keepdims=True)
    order = np.argsort(original, axis=1, kind="stable")
    half = int(np.around(k1 / 2))
    weights = np.zeros((num_images, num_images))
    for i in range(num_images):
        own = mutual(order, i, k1)
        joined = set(own)
        for candidate in own:
            others = mutual(order, candidate, half)
            if len(others & own) > 2 / 3 * len(others):
                joined |= others
        columns = sorted(joined)
        weights[i, columns] = np.exp(-original[i, columns])
        weights[i] /= weights[i].sum()
    if k2 != 1:
        weights = np.stack([weights[order[i, :k2]].mean(axis=0) for i in range(num_images)])
    overlap = np.minimum(weights[:num_query, None], weights[None, num_query:]).sum(axis=2)
    jaccard = 1 - overlap / (2 - overlap)
    return (1 - lambda_value) * jaccard + lambda_value * original[:num_query, num_query:]


def clustered(num_query, num_gallery, dim=12, noise=0.6, seed=0):
    """Unit rows around a few centres: some neighbourhoods are mutual, others are not."""
    rng = np.random.default_rng(seed)
    num_images = num_query + num_gallery
    centres = rng.standard_normal((max(1, num_images // 9), dim))
    features = centres[rng.integers(0, len(centres), num_images)]
    features = features + noise * rng.standard_normal((num_images, dim))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    features = features.astype(np.float32)
    return features[:num_query], features[num_query:]


@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (8, 3), (12, 40), (30, 90)])
@pytest.mark.parametrize(
    ("k1", "k2"), [(50, 15), (20, 6), (20, 1), (5, 3), (1, 1), (3, 2), (4, 9), (7, 500), (500, 4)]
)
def test_agrees_with_the_definition(shape, k1, k2):
    query, gallery = clustered(*shape)
    expected = slow_reference(query, gallery, k1, k2, 0.3)
    distances = rerank(query, gallery, k1, k2, 0.3)
    assert distances.dtype == torch.float32
    assert distances.shape == shape
    assert distances.numpy() == pytest.approx(expected, abs=1e-5)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    num_query=st.integers(1, 15),
    num_gallery=st.integers(1, 40),
    noise=st.sampled_from([0.2, 0.6, 2.0]),
    k1=st.integers(1, 60),
    k2=st.integers(1, 20),
    lambda_value=st.sampled_from([0.0, 0.3, 1.0]),
)
def test_agrees_with_the_definition_on_random_features(
    seed, num_query, num_gallery, noise, k1, k2, lambda_value
):
    query, gallery = clustered(num_query, num_gallery, noise=noise, seed=seed)
    expected = slow_reference(query, gallery, k1, k2, lambda_value)
    distances = rerank(query, gallery, k1, k2, lambda_value)
    assert distances.numpy() == pytest.approx(expected, abs=1e-5)


def test_unnormalized_features_agree_with_the_definition():
    query, gallery = clustered(10, 40)
    query, gallery = 7 * query, 7 * gallery * np.linspace(0.8, 1.2, 40, dtype=np.float32)[:, None]
    expected = slow_reference(query, gallery, 10, 3, 0.3)
    assert rerank(query, gallery, 10, 3).numpy() == pytest.approx(expected, abs=1e-5)


def test_defaults_are_those_of_clip_reid():
    query, gallery = clustered(20, 120)
    assert torch.equal(rerank(query, gallery), rerank(query, gallery, 50, 15, 0.3))


def test_two_pairs_match_a_hand_worked_case():
    # on a line: query at 0, its partner at 1, another pair at 10 and 11; k1 = 1 keeps the pairs
    query = np.array([[0.0]], dtype=np.float32)
    gallery = np.array([[1.0], [10.0], [11.0]], dtype=np.float32)
    distances = rerank(query, gallery, k1=1, k2=1, lambda_value=0.5)
    # rows 0 and 1 weigh the pair (exp(0), exp(-1/121)) and (exp(-1/100), exp(0))
    first, second = 1 / (1 + np.exp(-1 / 121)), 1 / (1 + np.exp(-1 / 100))
    overlap = min(first, 1 - second) + min(1 - first, second)
    jaccard = np.array([1 - overlap / (2 - overlap), 1.0, 1.0])
    expected = 0.5 * jaccard + 0.5 * np.array([1, 100, 121]) / 121
    assert distances.numpy()[0] == pytest.approx(expected, abs=1e-6)


def test_lambda_one_gives_the_scaled_distance():
    query, gallery = clustered(6, 20)
    both = np.concatenate([query, gallery])
    squared = ((query[:, None] - both[None]) ** 2).sum(axis=2)
    expected = (squared / squared.max(axis=1, keepdims=True))[:, 6:]
    assert rerank(query, gallery, 5, 2, 1.0).numpy() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("chunk_mb", [1e-6, 0.01, 0.03])
def test_distances_do_not_depend_on_the_chunk_size(chunk_mb):
    query, gallery = clustered(30, 90)
    expected = rerank(query, gallery, 20, 6)
    distances = rerank(query, gallery, 20, 6, chunk_mb=chunk_mb)
    torch.testing.assert_close(distances, expected, atol=1e-6, rtol=0)


def test_sparse_products_in_parts_give_the_same_distances(monkeypatch):
    query, gallery = clustered(30, 90)
    expected = rerank(query, gallery, 20, 6)
    monkeypatch.setattr(k_reciprocal, "ROWS_PER_PRODUCT", 7)
    assert torch.equal(rerank(query, gallery, 20, 6), expected)


def test_half_precision_and_tensors_are_accepted():
    query, gallery = (torch.from_numpy(side).half() for side in clustered(10, 30))
    expected = slow_reference(query.float().numpy(), gallery.float().numpy(), 10, 3, 0.3)
    assert rerank(query, gallery, 10, 3).numpy() == pytest.approx(expected, abs=1e-5)


def test_identical_images_give_finite_distances():
    same = np.ones((4, 3), dtype=np.float32)
    distances = rerank(same, np.ones((90, 3), dtype=np.float32), 20, 6)
    assert torch.isfinite(distances).all()


def test_duplicates_of_a_query_rank_first():
    query, gallery = clustered(5, 60)
    gallery[10:15] = query
    distances = rerank(query, gallery, 6, 1)
    assert distances.argmin(dim=1).tolist() == [10, 11, 12, 13, 14]


def test_memory_estimates_are_plausible():
    market = memory_limits.rerank_memory(3368, 15913, 1280, 50, 15)
    msmt = memory_limits.rerank_memory(11659, 82161, 1280, 50, 15)
    assert 4 * 3368 * 15913 < market < 1.5e9
    assert 4 * 11659 * 82161 < msmt < 4 * (11659 + 82161) ** 2 / 4


def test_too_little_memory_is_refused_with_both_numbers(monkeypatch):
    query, gallery = clustered(5, 20)
    monkeypatch.setattr(memory_limits, "available_bytes", lambda _: 100_000_000)
    text = r"needs about 0\.3 GB, have 0\.1 GB; set TEST\.RE_RANKING False"
    with pytest.raises(MemoryError, match=text):
        rerank(query, gallery)
    monkeypatch.setattr(memory_limits, "available_bytes", lambda _: None)
    assert rerank(query, gallery).shape == (5, 20)


@pytest.mark.parametrize("options", [{"k1": 0}, {"k2": 0}, {"lambda_value": 1.5}])
def test_constants_out_of_range_are_rejected(options):
    query, gallery = clustered(3, 5)
    with pytest.raises(ValueError, match=r"k1 >= 1, k2 >= 1 and lambda_value in 0\.\.1"):
        rerank(query, gallery, **options)


def test_errors_name_the_bad_features():
    query, gallery = clustered(3, 5)
    gallery[4, 0] = np.nan
    with pytest.raises(ValueError, match="gallery_features: NaN or infinite value, first in row 4"):
        rerank(query, gallery)
    with pytest.raises(ValueError, match="query_features has 12 columns, gallery_features 11"):
        rerank(query, gallery[:4, :11])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_agrees_with_the_cpu():
    query, gallery = (torch.from_numpy(side) for side in clustered(30, 90))
    distances = rerank(query.cuda(), gallery.cuda(), 20, 6)
    assert distances.is_cuda
    torch.testing.assert_close(distances.cpu(), rerank(query, gallery, 20, 6), atol=1e-5, rtol=0)


def in_blocks(source, num_query, rows):
    slices = (slice(i, min(i + rows, num_query)) for i in range(0, num_query, rows))
    blocks = [(block.rows, block.values.clone()) for block in source(slices)]
    assert [place for rows_of, _ in blocks for place in range(num_query)[rows_of]] == list(
        range(num_query)
    )
    return torch.cat([values for _, values in blocks])


@pytest.mark.parametrize("rows", [1, 7, 30, 100])
def test_blocks_equal_the_rows_of_the_matrix(rows):
    query, gallery = clustered(30, 90)
    expected = rerank(query, gallery, 20, 6, 0.3)
    source = rerank_blocks(query, gallery, Reranking(20, 6, 0.3), WorkingMemory())
    for _ in range(2):  # a source can be called again
        found = in_blocks(source, 30, rows)
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_features_of_one_tensor_are_neither_copied_nor_modified():
    features = torch.from_numpy(np.concatenate(clustered(12, 50)))
    before = features.clone()
    query, gallery = features[:12], features[12:]
    joined = reranking._joined(query, gallery)
    assert joined.data_ptr() == features.data_ptr()
    assert torch.equal(joined, features)
    expected = rerank(query.clone(), gallery.clone(), 10, 3)
    assert torch.equal(rerank(query, gallery, 10, 3), expected)
    assert torch.equal(features, before)


def test_separate_features_are_concatenated():
    features = torch.arange(60.0).view(20, 3)
    for query, gallery in [
        (features[:5], features[6:]),
        (features[10:], features[:10]),
        (features[:5], features.clone()[5:]),
        (features[:10:2], features[9:]),
        (features[:4, :2], features[4:, :2]),
    ]:
        joined = reranking._joined(query, gallery)
        assert torch.equal(joined, torch.cat([query, gallery]))


def test_blocks_need_less_memory_than_the_matrix(monkeypatch):
    query, gallery = clustered(40, 200)

    def estimate(*_, whole=True, **_place):
        return 2000 if whole else 1000

    monkeypatch.setattr(
        memory_limits, "rerank_memory", lambda *_, whole=True, **_more: 2000 if whole else 1000
    )
    monkeypatch.setattr(memory_limits, "available_bytes", lambda _: 1500)
    with pytest.raises(MemoryError, match="re-ranking needs"):
        rerank(query, gallery)
    monkeypatch.undo()
    expected = rerank(query, gallery)
    monkeypatch.setattr(
        memory_limits, "rerank_memory", lambda *_, whole=True, **_more: 2000 if whole else 1000
    )
    monkeypatch.setattr(memory_limits, "available_bytes", lambda _: 1500)
    source = rerank_blocks(query, gallery, Reranking(), WorkingMemory())
    found = in_blocks(source, 40, 9)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_nearest_images_agree_with_a_full_sort():
    query, gallery = clustered(20, 60)
    features = torch.from_numpy(np.concatenate([query, gallery]))
    distances = (features[:, None].double() - features[None]).square().sum(dim=2)
    for chunk_mb in (1e-6, 0.01, 64):
        around = find_neighbourhood(features, 9, WorkingMemory(chunk_mb))
        assert around.nearest.tolist() == distances.argsort(dim=1)[:, :9].tolist()
        assert around.row_maxima == pytest.approx(distances.amax(dim=1).numpy(), abs=1e-5)
    assert find_neighbourhood(features, 500, WorkingMemory(64)).nearest.shape == (80, 80)

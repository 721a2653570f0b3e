import numpy as np
import pytest
import torch

from processor.metrics.distance import (
    block_mb,
    check_features,
    check_finite,
    chunk_slices,
    distance_blocks,
    full_precision,
    normalize_features,
    normalize_in_place,
)


def whole_matrix(query, gallery, metric="euclidean", rows=2):
    slices = (slice(i, min(i + rows, len(query))) for i in range(0, len(query), rows))
    blocks = distance_blocks(query, gallery, slices, metric)
    return torch.cat([block.values.clone() for block in blocks])


def random_features(num_query=7, num_gallery=5, dim=6):
    generator = torch.Generator().manual_seed(3)
    query = torch.randn(num_query, dim, generator=generator)
    return query, torch.randn(num_gallery, dim, generator=generator)


def test_euclidean_is_squared():
    query, gallery = torch.tensor([[3.0, 4.0]]), torch.tensor([[0.0, 0.0], [3.0, 1.0]])
    assert whole_matrix(query, gallery).tolist() == [[25.0, 9.0]]


def test_cosine_is_one_minus_the_cosine():
    query, gallery = torch.tensor([[2.0, 0.0]]), torch.tensor([[5.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    assert whole_matrix(query, gallery, "cosine").tolist() == [[0.0, 1.0, 2.0]]


@pytest.mark.parametrize("rows", [1, 3, 7, 50])
def test_blocks_agree_with_the_definition(rows):
    query, gallery = random_features()
    expected = (query[:, None] - gallery[None]).square().sum(dim=2)
    torch.testing.assert_close(whole_matrix(query, gallery, rows=rows), expected)


def test_blocks_share_their_memory():
    query, gallery = random_features()
    blocks = distance_blocks(query, gallery, iter([slice(0, 4), slice(4, 7)]))
    assert len({block.values.data_ptr() for block in blocks}) == 1


def test_normalized_rows_have_length_one_and_zeros_stay():
    features = normalize_features(np.array([[3.0, 4.0], [0.0, 0.0]]))
    assert features.dtype == torch.float32
    torch.testing.assert_close(features, torch.tensor([[0.6, 0.8], [0.0, 0.0]]))


def test_slices_cover_the_rows_within_the_budget():
    slices = list(chunk_slices(10, bytes_per_row=2**18, chunk_mb=1))
    assert slices == [slice(0, 4), slice(4, 8), slice(8, 10)]


def test_a_row_above_the_budget_still_gets_its_slice():
    assert list(chunk_slices(2, 2**30, 1)) == [slice(0, 1), slice(1, 2)]


def test_features_are_taken_to_float32():
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        query, gallery = check_features(torch.ones(2, 3, dtype=dtype), np.ones((4, 3)))
        assert query.dtype == gallery.dtype == torch.float32


def test_tf32_is_switched_off_and_back_on():
    backend = torch.backends.cuda.matmul
    before = backend.allow_tf32
    backend.allow_tf32 = True
    try:
        with full_precision(torch.device("cpu")):
            assert getattr(backend, "fp32_precision", "ieee") == "ieee"
        assert backend.allow_tf32
    finally:
        backend.allow_tf32 = before


def test_distances_ignore_autocast():
    query, gallery = random_features()
    expected = whole_matrix(query, gallery)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(whole_matrix(query, gallery), expected)


@pytest.mark.parametrize(
    ("query", "gallery", "text"),
    [
        (torch.ones(3), torch.ones(2, 3), r"query_features: expected a matrix, got shape \(3,\)"),
        (torch.ones(0, 3), torch.ones(2, 3), r"query_features: empty"),
        (torch.ones(2, 3), torch.ones(0, 3), r"gallery_features: empty"),
        (torch.ones(2, 3), torch.ones(2, 4), "query_features has 3 columns, gallery_features 4"),
        (torch.ones(2, 3), torch.full((2, 3), torch.nan), "gallery_features: NaN .* row 0"),
    ],
)
def test_bad_features_are_named(query, gallery, text):
    with pytest.raises(ValueError, match=text):
        check_features(query, gallery)


def test_first_bad_row_is_named():
    values = torch.zeros(4, 2)
    values[2, 1] = torch.inf
    with pytest.raises(ValueError, match="distmat: NaN or infinite value, first in row 2"):
        check_finite("distmat", values)


def test_overflow_is_an_error():
    query = torch.full((1, 4), 1e25)
    with pytest.raises(ValueError, match="distances: NaN or infinite"):
        whole_matrix(query, query)


def test_unknown_metric_lists_the_known_ones():
    query, gallery = random_features()
    with pytest.raises(ValueError, match="unknown 'manhattan'; known: euclidean, cosine"):
        whole_matrix(query, gallery, "manhattan")


def test_chunk_size_has_to_be_positive():
    with pytest.raises(ValueError, match="chunk_mb"):
        list(chunk_slices(3, 8, 0))


def test_rows_are_normalized_in_place_to_the_same_numbers():
    features = torch.randn(600, 17, generator=torch.Generator().manual_seed(2))
    features[5] = 0
    expected = normalize_features(features)
    assert not torch.equal(features, expected)
    normalize_in_place(features)
    assert torch.equal(features, expected)


def test_blocks_of_a_cpu_fit_its_caches_and_never_exceed_the_chunk():
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert block_mb(1000, 512, cpu) == 32
    assert block_mb(2**20, 512, cpu) == 192  # rows of 1 MiB
    assert block_mb(2**20, 100, cpu) == 100
    assert block_mb(1000, 7, cpu) == 7
    assert block_mb(1000, 512, cuda) == 512


def test_columns_of_a_larger_matrix_are_as_good_as_a_matrix():
    query, gallery = random_features(dim=12)
    wide = whole_matrix(query[:, ::2], gallery[:, ::2])
    copied = whole_matrix(query[:, ::2].contiguous(), gallery[:, ::2].contiguous())
    torch.testing.assert_close(wide, copied)

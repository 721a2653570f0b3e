import pytest
import torch

from processor.metrics.distance import distance_blocks


def whole_matrix(query, gallery, metric="euclidean", rows=2):
    slices = (slice(i, min(i + rows, len(query))) for i in range(0, len(query), rows))
    blocks = distance_blocks(query, gallery, slices, metric)
    return torch.cat([block.values.clone() for block in blocks])


def random_features(num_query=7, num_gallery=5, dim=6):
    generator = torch.Generator().manual_seed(3)
    query = torch.randn(num_query, dim, generator=generator)
    return query, torch.randn(num_gallery, dim, generator=generator)


def test_euclidean_distances_are_squared():
    query, gallery = torch.tensor([[3.0, 4.0]]), torch.tensor([[0.0, 0.0], [3.0, 1.0]])
    assert whole_matrix(query, gallery).tolist() == [[25.0, 9.0]]


def test_cosine_distance_is_one_minus_the_cosine():
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


def test_distances_ignore_autocast():
    query, gallery = random_features()
    expected = whole_matrix(query, gallery)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(whole_matrix(query, gallery), expected)


def test_overflow_raises():
    query = torch.full((1, 4), 1e25)
    with pytest.raises(ValueError, match="distances: NaN or infinite"):
        whole_matrix(query, query)


def test_error_of_an_unknown_metric_lists_the_known():
    query, gallery = random_features()
    with pytest.raises(ValueError, match="unknown 'manhattan'; known: euclidean, cosine"):
        whole_matrix(query, gallery, "manhattan")


def test_non_contiguous_features_give_the_same_distances():
    query, gallery = random_features(dim=12)
    wide = whole_matrix(query[:, ::2], gallery[:, ::2])
    copied = whole_matrix(query[:, ::2].contiguous(), gallery[:, ::2].contiguous())
    torch.testing.assert_close(wide, copied)

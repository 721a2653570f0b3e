"""Queries with a match of equal content are counted."""

import pytest
import torch
import torch.nn.functional as F

from processor.metrics import twins
from processor.metrics.identities import Identities
from processor.metrics.twins import count_twins
from processor.results.report import describe_twins


def ids_of(query_pids, gallery_pids, query_camids=None, gallery_camids=None, *, rule=True):
    return Identities.check(
        query_pids,
        gallery_pids,
        query_camids or [-1] * len(query_pids),
        gallery_camids or [-2] * len(gallery_pids),
        ignore_same_camera=rule,
    )


@pytest.fixture
def features():
    generator = torch.Generator().manual_seed(3)
    return F.normalize(torch.randn(6, 64, generator=generator))


def test_every_query_with_an_equal_match_counts_once(features):
    gallery = torch.cat([features[:3], features[:1], features[3:4] + 0.01])
    assert count_twins(features[:4], gallery, ids_of([0, 1, 2, 3], [0, 1, 2, 0, 3])) == 3


def test_image_of_another_identity_is_not_a_twin(features):
    assert count_twins(features[:2], features[:2], ids_of([0, 1], [1, 0])) == 0


def test_junk_is_not_a_twin(features):
    ids = ([0, 1], [0, 1], [5, 6], [5, 7])
    assert count_twins(features[:2], features[:2], ids_of(*ids)) == 1
    assert count_twins(features[:2], features[:2], ids_of(*ids, rule=False)) == 2


def test_rounding_of_another_batch_does_not_matter(features):
    noise = 1e-6 * torch.randn(features.shape, generator=torch.Generator().manual_seed(1))
    for scale in (1, 100):
        found = count_twins(
            scale * features, scale * (features + noise), ids_of(range(6), range(6))
        )
        assert found == 6


def test_count_does_not_depend_on_the_block_size(features, monkeypatch):
    whole = count_twins(features, features, ids_of([0] * 6, [0] * 6))
    monkeypatch.setattr(twins, "WORKSPACE_MB", 1e-9)
    assert count_twins(features, features, ids_of([0] * 6, [0] * 6)) == whole == 6


def test_no_queries_and_no_matches_count_none(features):
    assert count_twins(features[:0], features, ids_of([], range(6))) == 0
    assert count_twins(features, features[:0], ids_of(range(6), [])) == 0
    assert count_twins(features[:2], features[2:4], ids_of([0, 1], [7, 8])) == 0


def test_description_says_how_many_and_what_to_do():
    text = describe_twins(3, 1200)
    assert text.startswith("3 of 1,200 queries have a gallery image at distance 0")
    assert "Remove these images from query or gallery" in text

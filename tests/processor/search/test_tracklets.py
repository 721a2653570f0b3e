"""Features of tracks."""

import numpy as np
import pytest
import torch

from processor.search.tracklets import pool_tracklets


def test_track_is_the_mean_direction_of_its_images():
    features = [[2.0, 0], [0, 5.0], [0, 1.0], [3.0, 4.0]]
    pooled = pool_tracklets(np.array(features), [7, 3, 7, 3])
    expected = torch.tensor([[0.6, 1.8], [1.0, 1.0]])  # tracks 3 and 7
    torch.testing.assert_close(pooled, torch.nn.functional.normalize(expected))
    assert pooled.dtype == torch.float32


def test_tracks_may_have_words_for_ids():
    pooled = pool_tracklets(torch.eye(3), ["b", "a", "b"])
    assert pooled[0].tolist() == [0, 1, 0]
    assert pooled[1].tolist() == pytest.approx([2**-0.5, 0, 2**-0.5])


def test_one_id_per_feature():
    with pytest.raises(ValueError, match="track_ids: 2 ids for 3 features"):
        pool_tracklets(torch.eye(3), [1, 2])


@pytest.mark.parametrize(
    ("features", "tracks", "message"),
    [
        ([[0.0, 0.0], [1.0, 0.0]], [1, 2], "a row of zeros"),
        ([[float("nan"), 0.0]], [1], "NaN or infinite"),
        ([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]], [7, 7, 8], "those of track 7 cancel out"),
        ([1.0, 0.0], [1, 2], "expected rows of a matrix"),
    ],
)
def test_tracks_without_a_direction_are_refused(features, tracks, message):
    with pytest.raises(ValueError, match=message):
        pool_tracklets(torch.tensor(features), tracks)

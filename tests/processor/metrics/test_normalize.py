import numpy as np
import torch

from processor.metrics.normalize import normalize_features, normalize_in_place


def test_rows_have_length_one_and_zeros_stay_zero():
    features = normalize_features(np.array([[3.0, 4.0], [0.0, 0.0]]))
    assert features.dtype == torch.float32
    torch.testing.assert_close(features, torch.tensor([[0.6, 0.8], [0.0, 0.0]]))


def test_in_place_gives_the_same_numbers():
    features = torch.randn(600, 17, generator=torch.Generator().manual_seed(2))
    features[5] = 0
    expected = normalize_features(features)
    assert not torch.equal(features, expected)
    normalize_in_place(features)
    assert torch.equal(features, expected)

import numpy as np
import pytest
import torch

from processor.metrics.checks import check_features, check_finite


def test_features_become_float32():
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        query, gallery = check_features(torch.ones(2, 3, dtype=dtype), np.ones((4, 3)))
        assert query.dtype == gallery.dtype == torch.float32


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
def test_errors_name_the_bad_features(query, gallery, text):
    with pytest.raises(ValueError, match=text):
        check_features(query, gallery)


def test_error_names_the_first_bad_row():
    values = torch.zeros(4, 2)
    values[2, 1] = torch.inf
    with pytest.raises(ValueError, match="distmat: NaN or infinite value, first in row 2"):
        check_finite("distmat", values)

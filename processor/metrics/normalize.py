"""L2 normalization of features."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from processor.metrics.checks import check_finite

ROWS_AT_ONCE = 256  # stay in the cache between the norm and the division
MIN_NORM = 1e-12  # divides a row of zeros
LARGEST_DISTANCE = 2  # between rows of length 1


def normalize_features(features: Tensor | np.ndarray) -> Tensor:
    """Scale every row to length 1: (N, D) -> (N, D) float32; a row of zeros stays zero."""
    return F.normalize(torch.as_tensor(features).float(), dim=1)


def unit_rows(features: Tensor | np.ndarray) -> Tensor:
    """`normalize_features` of rows that all have a direction.

    Raises:
        ValueError: not (N, D), without rows, not finite, or a row of zeros.
    """
    given = torch.as_tensor(features)
    if given.ndim != 2 or not given.numel():
        raise ValueError(f"features: expected rows of a matrix, got shape {tuple(given.shape)}")
    unit = normalize_features(given)
    check_finite("features", unit)
    if not bool(unit.any(1).all()):
        raise ValueError("features: a row of zeros has no direction to compare")
    return unit


def normalize_in_place(features: Tensor) -> None:
    """`normalize_features` of (N, D) float32 without a second copy."""
    for part in features.split(ROWS_AT_ONCE):
        part /= torch.linalg.vector_norm(part, dim=1, keepdim=True).clamp_min(MIN_NORM)

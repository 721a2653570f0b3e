"""Checks of the features and distances that callers pass in."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

FeatureArray: TypeAlias = Tensor | np.ndarray


def check_finite(name: str, values: Tensor, first_row: int = 0) -> None:
    """Raise ValueError naming the array and its first bad row if it holds NaN or infinity.

    Args:
        name: of the array, for the message.
        values: (n, m) rows of the array.
        first_row: position of these rows in the array.
    """
    low, high = torch.aminmax(values)  # NaN spreads through both, and no mask is allocated
    if torch.isfinite(low) and torch.isfinite(high):
        return
    row = first_row + int((~torch.isfinite(values)).any(dim=1).nonzero()[0])
    raise ValueError(f"{name}: NaN or infinite value, first in row {row}")


def check_features(
    query_features: FeatureArray, gallery_features: FeatureArray
) -> tuple[Tensor, Tensor]:
    """Both sides in float32, on the query's device.

    Args:
        query_features: (Q, D), any float type.
        gallery_features: (G, D).

    Raises:
        ValueError: names the array that is empty, not a matrix, of another width or not finite.
    """
    query = _check_matrix("query_features", query_features)
    gallery = _check_matrix("gallery_features", gallery_features)
    if query.shape[1] != gallery.shape[1]:
        raise ValueError(
            f"query_features has {query.shape[1]} columns, gallery_features {gallery.shape[1]}"
        )
    return query, gallery.to(query.device)


def _check_matrix(name: str, given: FeatureArray) -> Tensor:
    features = torch.as_tensor(given).detach()
    if features.ndim != 2:
        raise ValueError(f"{name}: expected a matrix, got shape {tuple(features.shape)}")
    if features.numel() == 0:
        raise ValueError(f"{name}: empty, shape {tuple(features.shape)}")
    features = features.float()
    check_finite(name, features)
    return features

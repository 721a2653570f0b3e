"""One feature per track of a video, from those of its frames."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from processor.metrics.checks import FeatureArray
from processor.metrics.normalize import normalize_features, unit_rows


def pool_tracklets(features: FeatureArray, track_ids: Any) -> Tensor:
    """The mean direction of every track.

    Args:
        features: (N, D) of single images, of any length.
        track_ids: (N,) numbers or words.

    Returns:
        (T, D) float32 rows of length 1, in ascending order of the track ids.

    Raises:
        ValueError: not one id per feature, see `unit_rows`, or a track whose features cancel out.
    """
    unit = unit_rows(features)
    tracks, places = np.unique(np.asarray(track_ids), return_inverse=True)
    if len(places) != len(unit):
        raise ValueError(f"track_ids: {len(places)} ids for {len(unit)} features")
    sums = unit.new_zeros(len(tracks), unit.shape[1])
    sums.index_add_(0, torch.from_numpy(places).to(unit.device), unit)
    lengths = torch.linalg.vector_norm(sums, dim=1)
    if not bool((lengths > 0).all()):
        empty = tracks[int((lengths == 0).nonzero()[0])]
        raise ValueError(f"features: those of track {empty} cancel out; it has no mean direction")
    return normalize_features(sums)

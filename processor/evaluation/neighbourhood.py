"""The nearest images of every image, without keeping their distances."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from processor.evaluation.distance import (
    block_mb,
    bytes_per_distance,
    chunk_slices,
    distance_blocks,
)

SMALLEST_MAXIMUM = 1e-12  # divides rows of distances that are all zero


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """What remains of the (N, N) squared distances of some images to each other."""

    nearest: np.ndarray  # (N, K) int32, the image itself first
    row_maxima: np.ndarray  # (N,) float32, largest distance of each row, above zero


def find_neighbourhood(features: Tensor, num_nearest: int, chunk_mb: float) -> Neighbourhood:
    """Look for the nearest images, a block of rows at a time.

    Args:
        features: (N, D) float32.
        num_nearest: how many to keep, clipped to N; the image itself counts.
        chunk_mb: MiB of working memory for one block.
    """
    num_images = len(features)
    num_nearest = min(num_nearest, num_images)
    nearest = np.empty((num_images, num_nearest), dtype=np.int32)
    row_maxima = np.empty(num_images, dtype=np.float32)
    bytes_per_row = bytes_per_distance(features.device) * num_images + 12 * num_nearest
    most_mb = block_mb(bytes_per_row, chunk_mb, features.device)
    slices = chunk_slices(num_images, bytes_per_row, most_mb)
    for block in distance_blocks(features, features, slices):
        values = block.values
        row_maxima[block.rows] = values.amax(dim=1).clamp_min(SMALLEST_MAXIMUM).cpu().numpy()
        values.diagonal(block.rows.start).fill_(-torch.inf)  # itself first, also among duplicates
        found = values.topk(num_nearest, dim=1, largest=False).indices
        nearest[block.rows] = found.cpu().numpy()
    return Neighbourhood(nearest, row_maxima)

"""Jaccard distances of all images to each other, computed on the device of the features."""

from __future__ import annotations

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from processor.metrics.k_reciprocal_device import (
    average_over_nearest,
    expanded_neighbours,
    neighbour_weights,
    overlaps,
)
from processor.metrics.working_memory import WorkingMemory


def jaccard_on_device(
    features: Tensor, nearest: Tensor, k2: int, max_distance: float, memory: WorkingMemory
) -> sparse.csr_array:
    """The distances of `processor.clustering.jaccard_distance`.

    Args:
        features: (N, D) float32.
        nearest: (N, k1) long, nearest images of each image, itself first.
        k2: images averaged over; 1 = no averaging.
        max_distance: larger distances are not stored.
        memory: for one block, on the features' device.
    """
    num_images, k1 = nearest.shape
    neighbours = expanded_neighbours(nearest, k1, memory)
    ones = torch.ones(num_images, device=features.device)
    weights = neighbour_weights(neighbours, features, ones, memory)
    if k2 > 1:
        weights = average_over_nearest(weights, nearest[:, :k2], memory)
    columns, values, counts = [], [], []
    for rows, shared in overlaps(weights, weights.transposed(), memory):
        shared.diagonal(rows.start).fill_(1)
        distances = (1 - shared / (2 - shared)).clamp_min(0).float()
        kept = (distances < 1) & (distances <= max_distance)
        columns.append(kept.nonzero()[:, 1].int().cpu().numpy())
        values.append(distances[kept].cpu().numpy())
        counts.append(kept.sum(dim=1).cpu().numpy())
    starts = np.concatenate([[0], np.cumsum(np.concatenate(counts))])
    parts = (np.concatenate(values), np.concatenate(columns), starts)
    return sparse.csr_array(parts, shape=(num_images, num_images))

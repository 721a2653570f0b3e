"""Multiple queries: the images of one identity and camera search together."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from processor.evaluation.distance import normalize_features


@dataclass(frozen=True, slots=True)
class PooledQueries:
    """One query per identity and camera, ascending by pid, then camid.

    Attributes:
        features: (P, D) mean features.
        pids: (P,) identities.
        camids: (P,) cameras.
    """

    features: Tensor
    pids: Tensor
    camids: Tensor


def pool_queries(
    features: Tensor, pids: Tensor, camids: Tensor, *, normalize: bool
) -> PooledQueries:
    """Replace the queries of one identity and camera by the mean of their features.

    Average pooling of multiple queries (Zheng et al., ICCV 2015). One camera each, so that the
    junk rule says the same for all images of a pooled query. Where the queries are one per identity
    and camera, as in Market-1501, nothing is left to pool: its published multi-query scores pool
    the hand-drawn boxes of its folder gt_bbox.

    Args:
        features: (Q, D) float, already of length 1 if `normalize`.
        pids: (Q,) identities.
        camids: (Q,) cameras.
        normalize: scale the means to length 1: the mean of directions is shorter.

    Raises:
        ValueError: no queries, or arrays of different lengths.
    """
    if not 0 < len(features) == len(pids) == len(camids):
        raise ValueError(
            "expected queries with one pid and one camid each, got "
            f"{len(features)} features, {len(pids)} pids and {len(camids)} camids"
        )
    groups, group, sizes = torch.unique(
        torch.stack([pids, camids], dim=1), dim=0, return_inverse=True, return_counts=True
    )
    # group by group, as scattered sums on a GPU differ from run to run
    grouped = features[group.argsort(stable=True).to(features.device)].split(sizes.tolist())
    means = torch.stack([part.mean(dim=0) for part in grouped])
    if normalize:
        means = normalize_features(means)
    return PooledQueries(means, groups[:, 0], groups[:, 1])

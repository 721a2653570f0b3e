"""Multi-query evaluation: one query per identity and camera, the mean of its images' features."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from processor.metrics.identities import Identities
from processor.metrics.normalize import normalize_features


@dataclass(frozen=True, slots=True)
class PooledQueries:
    """One query per identity and camera, ascending by pid, then camid.

    Attributes:
        features: (P, D) mean features.
        ids: of these queries and of the gallery.
    """

    features: Tensor
    ids: Identities


def pool_queries(features: Tensor, ids: Identities, *, normalize: bool) -> PooledQueries:
    """Replace the queries of one identity and camera by the mean of their features.

    Average pooling of multiple queries (Zheng et al., ICCV 2015). Cameras are pooled separately, so
    that the junk rule is the same for all images of a pooled query. Data sets with one query per
    identity and camera, such as Market-1501, are unchanged: Market-1501's published multi-query
    scores pool the hand-drawn boxes of its folder gt_bbox.

    Args:
        features: (Q, D) float, already of length 1 if `normalize`.
        ids: of the queries and of the gallery.
        normalize: scale the means to length 1; a mean of unit vectors is shorter.

    Raises:
        ValueError: no queries, or arrays of different lengths.
    """
    pids, camids = ids.query_pids, ids.query_camids
    if not 0 < len(features) == len(pids) == len(camids):
        raise ValueError(
            "expected queries with one pid and one camid each, got "
            f"{len(features)} features, {len(pids)} pids and {len(camids)} camids"
        )
    groups, group, sizes = np.unique(
        np.stack([pids, camids], axis=1), axis=0, return_inverse=True, return_counts=True
    )
    # group by group: scattered sums on a GPU differ from run to run
    order = torch.from_numpy(group.reshape(-1).argsort(kind="stable")).to(features.device)
    means = torch.stack([part.mean(dim=0) for part in features[order].split(sizes.tolist())])
    if normalize:
        means = normalize_features(means)
    pooled = replace(ids, query_pids=groups[:, 0], query_camids=groups[:, 1])
    return PooledQueries(means, pooled)

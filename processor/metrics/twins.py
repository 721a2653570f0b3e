"""Queries whose own image is in the gallery a second time, under another name."""

from __future__ import annotations

import torch
from torch import Tensor

from processor.metrics.identities import Identities
from processor.metrics.junk_rule import Candidates
from processor.metrics.working_memory import WorkingMemory

ROUNDING = 1e-4  # of a distance between equal images, relative to the features' length
WORKSPACE_MB = 16


@torch.no_grad()
def count_twins(query_features: Tensor, gallery_features: Tensor, ids: Identities) -> int:
    """Number of queries with a match at distance 0, up to rounding.

    A copy of an image is found whatever its file format, as long as the pixels are the same. Junk
    does not count.

    Args:
        query_features: (Q, D).
        gallery_features: (G, D).
        ids: of both sides.
    """
    if not len(query_features) or not len(gallery_features):
        return 0
    candidates = Candidates.find(ids)
    width = query_features.shape[1] * query_features.element_size()
    per_query = 3 * width * max(1, int(candidates.counts.max()))
    count = 0
    for rows in WorkingMemory(WORKSPACE_MB).chunks(len(query_features), per_query):
        chunk = candidates.chunk(rows)
        own, column = torch.from_numpy(chunk.match).nonzero(as_tuple=True)
        places = torch.from_numpy(chunk.positions)[own, column].to(gallery_features.device)
        query = query_features[rows][own.to(query_features.device)]
        distances = (query - gallery_features[places]).norm(dim=1)
        equal = distances <= ROUNDING * query.norm(dim=1)
        count += len(own[equal.cpu()].unique())
    return count

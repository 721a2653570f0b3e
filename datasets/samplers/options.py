"""Options of the samplers, as plain records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class WalkOptions:
    """How DFGS walks over its graph; the defaults are the paper's.

    Attributes:
        shuffle_rows: visit an identity's neighbours in random order instead of nearest first.
        walk: depth_first, balanced or greedy; see `datasets.samplers.walks`.
        max_visits: maximum number of batches per epoch with the same identity; 0 = as many as its
            images fill.
        domains: data set of every image; new starts alternate between them. None = anywhere.
    """

    shuffle_rows: bool = True
    walk: str = "depth_first"
    max_visits: int = 0
    domains: Sequence[int] | None = None


@dataclass(frozen=True, slots=True)
class PassOptions:
    """How DSGL passes over clusters to fill batches.

    Attributes:
        num_batches: batches per epoch; 0 = one pass over the clusters.
        camera_aware: an anchor's companions come from other cameras where possible.
        pairs: a batch ends with a partner for every anchor, a random image of its cluster (possibly
            the anchor itself).
    """

    num_batches: int = 0
    camera_aware: bool = True
    pairs: bool = False


@dataclass(frozen=True, slots=True)
class SamplerOptions:
    """Everything that the options say about a run's batches.

    Attributes:
        batch_size: images per global batch; anchors where batches are made from clusters.
        num_instances: K, images per identity or cluster; unused by shuffled batches.
        p_x_k: batches are P x K instead of shuffled.
        seed: of the run.
        walk: for DFGS.
        clusters: for training without labels.
        user: options below USER, for samplers of plug-ins.
    """

    batch_size: int
    num_instances: int
    p_x_k: bool
    seed: int
    walk: WalkOptions
    clusters: PassOptions
    user: Mapping[str, Any] = field(default_factory=dict)

    @property
    def num_pids(self) -> int:
        """P."""
        return self.batch_size // self.num_instances

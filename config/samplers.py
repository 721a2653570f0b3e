"""The table of samplers: every value of DATALOADER.SAMPLER and its needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from yacs.config import CfgNode


@dataclass(frozen=True, slots=True)
class SamplerKind:
    """One value of DATALOADER.SAMPLER.

    Attributes:
        maker: module in `datasets/samplers` whose `make_sampler` makes the sampler, or a plug-in's
            function in its place.
        p_x_k: batches hold P labels x K images, so a triplet loss finds positives and negatives;
            False = any images, without a triplet loss.
        graph: features that the sampler's graph of identities is built from, "text" (of the learned
            prompts, once), "image" (of the encoder, every DFGS.REFRESH_PERIOD epochs) or "both";
            None = the sampler needs no graph. DFGS.FEATURES replaces it.
        full_rows: the graph must have P - 1 neighbours for every identity; False = up to
            DFGS.NUM_NEIGHBOURS.
    """

    maker: str | Callable[..., Any]
    p_x_k: bool = True
    graph: str | None = None
    full_rows: bool = False


SAMPLERS = {
    "softmax": SamplerKind("shuffled", p_x_k=False),
    "softmax_triplet": SamplerKind("random_identity"),
    "dfgs_text": SamplerKind("dfgs", graph="text"),
    "dfgs_image": SamplerKind("dfgs", graph="image"),
    "gs_text": SamplerKind("gs", graph="text", full_rows=True),
    "gs_image": SamplerKind("gs", graph="image", full_rows=True),
}
"""Samplers that plan from identity labels."""

CLUSTER_SAMPLERS = {
    "softmax": SamplerKind("clusters", p_x_k=False),
    "softmax_triplet": SamplerKind("clusters"),
}
"""Samplers that plan from clusters, for training without labels (DSGL.ENABLED)."""


def sampler_kind(cfg: CfgNode) -> SamplerKind:
    """The table's row for DATALOADER.SAMPLER; the name has been checked by `load_cfg`."""
    table = CLUSTER_SAMPLERS if cfg.DSGL.ENABLED else SAMPLERS
    kind = table[cfg.DATALOADER.SAMPLER]
    features = cfg.DATALOADER.DFGS.FEATURES
    return replace(kind, graph=features) if kind.graph and features else kind

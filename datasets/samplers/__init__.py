"""Samplers: each plans the batches of an epoch from (seed, epoch)."""

from datasets.samplers.cluster_batches import ClusterSampler, paired_share
from datasets.samplers.dfgs import DepthFirstGraphSampler, WalkOptions
from datasets.samplers.epoch_batches import EpochBatches, SeededIndex
from datasets.samplers.graph import GraphSampler
from datasets.samplers.identity_graph import nearest_identities
from datasets.samplers.random_identity import RandomIdentitySampler
from datasets.samplers.shuffled import ShuffledSampler

__all__ = [
    "ClusterSampler",
    "DepthFirstGraphSampler",
    "EpochBatches",
    "GraphSampler",
    "RandomIdentitySampler",
    "SeededIndex",
    "ShuffledSampler",
    "WalkOptions",
    "nearest_identities",
    "paired_share",
]

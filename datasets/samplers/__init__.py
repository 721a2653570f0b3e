"""Samplers: each plans an epoch's batches from (seed, epoch)."""

from datasets.records import SeededIndex
from datasets.samplers.clusters import ClusterSampler
from datasets.samplers.dfgs import DepthFirstGraphSampler
from datasets.samplers.epoch_batches import EpochBatches
from datasets.samplers.gs import GraphSampler
from datasets.samplers.neighbours import nearest_identities
from datasets.samplers.options import WalkOptions
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
]

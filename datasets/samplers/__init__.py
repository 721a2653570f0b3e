"""Samplers: each plans the batches of an epoch from (seed, epoch)."""

from datasets.samplers.epoch_batches import EpochBatches, SeededIndex
from datasets.samplers.random_identity import RandomIdentitySampler
from datasets.samplers.shuffled import ShuffledSampler

__all__ = ["EpochBatches", "RandomIdentitySampler", "SeededIndex", "ShuffledSampler"]

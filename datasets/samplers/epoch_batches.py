"""From a sampler's plan to a loader's requests: position and seed of every image."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from torch.utils.data import Sampler

from datasets.records import SeededIndex
from datasets.samplers.planner import EpochPlanner

Share = Callable[[int], Sequence[int]]
"""Length of a global batch -> the places in it that this process works on."""


class EpochBatches(Sampler[list[SeededIndex]]):
    """This process's share of an epoch's batches, with an augmentation seed for every image.

    A seed depends on (seed, epoch, place in the epoch) only, so augmentation does not depend on
    the number of workers or processes, nor on an interruption in the middle of the epoch.

    Args:
        sampler: plans the global batches.
        seed: of the run.
        share: this process's share of a batch.
    """

    def __init__(self, sampler: EpochPlanner, seed: int, share: Share = range) -> None:
        self.sampler = sampler
        self.seed = seed
        self.share = _share_of_pairs(share) if sampler.pairs else share
        self.set_epoch(0)

    def set_epoch(self, epoch: int, first_batch: int = 0) -> None:
        """Choose the epoch; batches before `first_batch` are skipped, to resume inside it."""
        self.epoch = epoch
        self.first_batch = first_batch
        self.sampler.set_epoch(epoch)

    def __iter__(self) -> Iterator[list[SeededIndex]]:
        for number, batch in enumerate(self.sampler):
            if number >= self.first_batch:
                rng = np.random.Generator(np.random.PCG64([self.seed, self.epoch, number]))
                seeds = rng.integers(2**63, size=len(batch)).tolist()
                yield [SeededIndex(batch[i], seeds[i]) for i in self.share(len(batch))]

    def __len__(self) -> int:
        return len(self.sampler) - self.first_batch


def _share_of_pairs(share: Share) -> Share:
    """The share of a batch of B images and their B partners: the same places of both halves."""

    def part(length: int) -> list[int]:
        half = length // 2
        places = share(half)
        return [*places, *(half + place for place in places)]

    return part

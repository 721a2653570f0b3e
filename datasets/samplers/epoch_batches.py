"""From a sampler's plan to the keys a data set is asked for: position and seed of every image."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np
from torch.utils.data import Sampler

from datasets.records import SeededIndex


class BatchPlan(Protocol):
    """A sampler that plans whole batches by epoch."""

    @property
    def stats(self) -> dict[str, float]:
        """Numbers of the epoch's plan."""

    @property
    def plan_seconds(self) -> float:
        """How long the plan took."""

    def set_epoch(self, epoch: int) -> None:
        """Plan an epoch."""

    def __iter__(self) -> Iterator[list[int]]: ...

    def __len__(self) -> int: ...


class EpochBatches(Sampler[list[SeededIndex]]):
    """Batches of an epoch in which every drawn image has its own seed.

    The seed depends on (seed, epoch, place in the epoch) only, so that augmentation is the same for
    any number of workers and processes and after a resumption in the middle of an epoch.

    Args:
        plan: the sampler, of global batches.
        seed: of the run.
        share: length of a global batch -> the places in it that this process works on.
    """

    def __init__(
        self, plan: BatchPlan, seed: int, share: Callable[[int], Sequence[int]] = range
    ) -> None:
        self.plan = plan
        self.seed = seed
        self.share = share
        self.set_epoch(0)

    def set_epoch(self, epoch: int, first_batch: int = 0) -> None:
        """Plan an epoch; the first batches are left out when a run resumes inside it."""
        self.epoch = epoch
        self.first_batch = first_batch
        self.plan.set_epoch(epoch)

    def __iter__(self) -> Iterator[list[SeededIndex]]:
        for number, batch in enumerate(self.plan):
            if number >= self.first_batch:
                rng = np.random.Generator(np.random.PCG64([self.seed, self.epoch, number]))
                seeds = rng.integers(2**63, size=len(batch)).tolist()
                yield [SeededIndex(batch[i], seeds[i]) for i in self.share(len(batch))]

    def __len__(self) -> int:
        return len(self.plan) - self.first_batch

"""An epoch's plan, made when it is asked for, and what samplers of P x K batches share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter

from torch.utils.data import Sampler

from datasets.samplers.chunks import check_batch_shape, indices_by_label, rank_slice


@dataclass(frozen=True, slots=True)
class EpochPlan:
    """The global batches of an epoch, as image positions, and numbers about them."""

    batches: list[list[int]]
    stats: dict[str, float]


class EpochPlanner(Sampler[list[int]]):
    """Batches planned by epoch, from (seed, epoch) and what the sampler has been given.

    Attributes:
        plan_seconds: how long the present plan took.

    Args:
        seed: with the epoch, decides the plan; the same on every process.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.epoch = 0
        self.plan_seconds = 0.0
        self._plan: EpochPlan | None = None

    def set_epoch(self, epoch: int) -> None:
        """Plan this epoch from (seed, epoch) when its batches are asked for."""
        self.epoch = epoch
        self._plan = None

    @property
    def stats(self) -> dict[str, float]:
        """Numbers of the epoch's plan: batches, coverage, ..."""
        return self._planned().stats

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self._planned().batches)

    def __len__(self) -> int:
        return len(self._planned().batches)

    def _planned(self) -> EpochPlan:
        if self._plan is None:
            started = perf_counter()
            self._plan = self._make_plan()
            self.plan_seconds = perf_counter() - started
        return self._plan

    @abstractmethod
    def _make_plan(self) -> EpochPlan:
        """The plan of `self.epoch`, the same on every process."""


class PlannedSampler(EpochPlanner):
    """Whole batches of P distinct identities x K images, planned by epoch.

    Args:
        labels: label 0..I-1 of every image.
        num_pids: P, identities in a global batch.
        num_instances: K, images of an identity; they stand side by side.
        seed: with the epoch, decides the plan; the same on every process.
        rank: this process.
        world_size: processes; each gets P / world_size identities of every batch.

    Raises:
        ValueError: fewer identities than P, or P not divisible by the processes.
    """

    def __init__(
        self,
        labels: Sequence[int],
        num_pids: int,
        num_instances: int,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        super().__init__(seed)
        self._groups = indices_by_label(labels)
        check_batch_shape(len(self._groups), num_pids, num_instances, world_size)
        self.num_pids = num_pids
        self.num_instances = num_instances
        self.rank = rank
        self.world_size = world_size

    def __iter__(self) -> Iterator[list[int]]:
        return iter([rank_slice(batch, self.rank, self.world_size) for batch in super().__iter__()])

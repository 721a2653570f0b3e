"""Base classes of the samplers: each plans a whole epoch from (seed, epoch)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter

from torch.utils.data import Sampler

from datasets.samplers.chunks import indices_by_label


@dataclass(frozen=True, slots=True)
class EpochPlan:
    """An epoch's global batches as image positions, and statistics for the log."""

    batches: list[list[int]]
    stats: dict[str, float]


class EpochPlanner(Sampler[list[int]]):
    """A sampler that plans an epoch's batches when they are first needed.

    Subclasses implement `plan_epoch`.

    Args:
        seed: with the epoch, decides the plan; the same on every process.

    Attributes:
        equal_shares: every process gets the same number of images of every batch.
        pairs: the second half of a batch holds a partner for every image of the first half.
        plan_seconds: time that the current plan took.
    """

    equal_shares = False
    pairs = False

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.epoch = 0
        self.plan_seconds = 0.0
        self._plan: EpochPlan | None = None

    @abstractmethod
    def plan_epoch(self) -> EpochPlan:
        """The plan of `self.epoch`; the same on every process."""

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch to plan."""
        self.epoch = epoch
        self._plan = None

    @property
    def stats(self) -> dict[str, float]:
        """Statistics of the epoch's plan: batches, coverage, ..."""
        return self._planned().stats

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self._planned().batches)

    def __len__(self) -> int:
        return len(self._planned().batches)

    def _planned(self) -> EpochPlan:
        if self._plan is None:
            started = perf_counter()
            self._plan = self.plan_epoch()
            self.plan_seconds = perf_counter() - started
        return self._plan


class PKSampler(EpochPlanner):
    """A sampler of batches with P distinct identities x K images each.

    Args:
        labels: label 0..I-1 of every image.
        num_pids: P, identities in a global batch.
        num_instances: K, images per identity; they are consecutive in the batch.
        seed: with the epoch, decides the plan; the same on every process.
        rank: this process.
        world_size: processes; each gets P / world_size identities of every batch.

    Raises:
        ValueError: fewer identities than P, or P is not divisible by the processes.
    """

    equal_shares = True

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


def check_batch_shape(
    num_identities: int, num_pids: int, num_instances: int, world_size: int = 1
) -> None:
    """Check that P distinct identities x K images exist and divide among the processes.

    Raises:
        ValueError: names the option to change.
    """
    if num_pids < 1 or num_instances < 1:
        raise ValueError(f"a batch needs P, K >= 1, not {num_pids} x {num_instances}")
    if num_identities < 2 <= num_pids:
        raise ValueError(
            f"the training set has {num_identities} identity: there is nobody to tell it from"
        )
    if num_identities < num_pids:
        raise ValueError(
            f"a batch of {num_pids} identities x {num_instances} images needs {num_pids} "
            f"identities, the training set has {num_identities}: lower "
            f"SOLVER.STAGE2.IMS_PER_BATCH to {num_identities * num_instances} or less"
        )
    if num_pids % world_size:
        raise ValueError(
            f"{num_pids} identities per batch do not divide among {world_size} processes: "
            f"set SOLVER.STAGE2.IMS_PER_BATCH to a multiple of {world_size * num_instances}"
        )


def rank_slice(batch: Sequence[int], rank: int, world_size: int) -> list[int]:
    """The consecutive part of a global batch that process `rank` works on."""
    share = len(batch) // world_size
    return list(batch[rank * share : (rank + 1) * share])

"""P x K batches: P random identities with K images each (Hermans et al., 2017)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random

from torch.utils.data import Sampler

from datasets.samplers.chunks import (
    check_batch_shape,
    indices_by_label,
    random_chunks,
    rank_slice,
)


class RandomIdentitySampler(Sampler[list[int]]):
    """Plans an epoch of whole batches of P distinct identities x K images.

    While at least P identities have a chunk of K images left, P of them are drawn without
    replacement and give one chunk each. The K images of an identity stand side by side.

    Args:
        labels: label 0..C-1 of every image.
        num_pids: P, identities in a global batch.
        num_instances: K, images of an identity.
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
        self._groups = indices_by_label(labels)
        check_batch_shape(len(self._groups), num_pids, num_instances, world_size)
        self.num_pids = num_pids
        self.num_instances = num_instances
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Plan the epoch's batches from (seed, epoch)."""
        rng = Random(f"random identities {self.seed} {epoch}")
        chunks = random_chunks(self._groups, self.num_instances, rng)
        plan = _draw_batches(chunks, self.num_pids, rng)
        drawn = {index for batch in plan for index in batch}
        num_images = sum(map(len, self._groups))
        seen = sum(not drawn.isdisjoint(group) for group in self._groups)
        self._stats: dict[str, float] = {
            "batches": float(len(plan)),
            "identity_coverage": seen / len(self._groups),
            "image_coverage": len(drawn) / num_images,
        }
        self._batches = [rank_slice(batch, self.rank, self.world_size) for batch in plan]

    @property
    def stats(self) -> dict[str, float]:
        """Numbers of the epoch's plan: batches, coverage."""
        return self._stats

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self._batches)

    def __len__(self) -> int:
        return len(self._batches)


def _draw_batches(chunks: list[list[list[int]]], num_pids: int, rng: Random) -> list[list[int]]:
    """Batches of one chunk from each of P random labels, until fewer than P have one."""
    available = [label for label, group in enumerate(chunks) if group]
    batches = []
    while len(available) >= num_pids:
        places = rng.sample(range(len(available)), num_pids)
        batches.append([index for place in places for index in chunks[available[place]].pop()])
        for place in sorted(places, reverse=True):  # from the back, so that places stay valid
            if not chunks[available[place]]:
                available[place] = available[-1]
                available.pop()
    return batches

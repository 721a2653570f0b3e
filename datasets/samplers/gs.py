"""GS, the graph sampler of QAConv: every identity with its nearest ones (CVPR 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from torch import Tensor

from datasets.samplers.neighbours import mean_hits
from datasets.samplers.planner import EpochPlan, PlannedSampler


class GraphSampler(PlannedSampler):
    """Plans one batch per identity: the identity and its P - 1 nearest, with K images each.

    An identity occurs in many batches of an epoch; it goes through its shuffled images in turn, so
    that none is drawn again before all have been drawn.

    Args:
        labels: label 0..I-1 of every image.
        num_pids: P, identities in a global batch.
        num_instances: K, images of an identity; they stand side by side.
        seed: with the epoch, decides the plan.
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
        super().__init__(labels, num_pids, num_instances, seed, rank, world_size)
        self._neighbours: list[list[int]] | None = None
        self._nearest: list[list[int]] = []

    def set_graph(self, neighbours: Tensor, nearest: Tensor | None = None) -> None:
        """Take the graph: (I, P - 1 or more) rows of `nearest_identities`, one per label.

        Args:
            neighbours: whom every identity is put together with.
            nearest: (I, k) what counts as a hit; None = `neighbours`.

        Raises:
            ValueError: not one row per label, or fewer columns than P - 1.
        """
        rows, columns = neighbours.shape
        if rows != len(self._groups) or columns < self.num_pids - 1:
            raise ValueError(
                f"a graph of {rows} identities with {columns} neighbours for {len(self._groups)} "
                f"labels in batches of {self.num_pids}"
            )
        self._neighbours = neighbours[:, : self.num_pids - 1].tolist()
        self._nearest = (neighbours if nearest is None else nearest).tolist()
        self._plan = None

    def _make_plan(self) -> EpochPlan:
        if self._neighbours is None:
            raise RuntimeError("the sampler has no graph yet: call set_graph first")
        rng = Random(f"graph {self.seed} {self.epoch}")
        queues: list[list[int]] = [[] for _ in self._groups]
        centers = list(range(len(self._groups)))
        rng.shuffle(centers)
        rows = [[center, *self._neighbours[center]] for center in centers]
        plan = [[i for label in row for i in self._take(queues[label], label, rng)] for row in rows]
        drawn = {index for batch in plan for index in batch}
        num_images = sum(map(len, self._groups))
        stats: dict[str, float] = {
            "batches": len(plan),
            "hits": mean_hits(rows, self._nearest),
            "identity_coverage": 1.0,
            "image_coverage": len(drawn) / num_images,
            "dropped_images": num_images - len(drawn),
            "repeated_images": sum(map(len, plan)) - len(drawn),
        }
        return EpochPlan(plan, stats)

    def _take(self, queue: list[int], label: int, rng: Random) -> list[int]:
        """The next K images of an identity; its queue is refilled when it runs dry."""
        group = self._groups[label]
        if len(group) < self.num_instances:  # all of them, and some again
            images = rng.sample(group, len(group))
            return [images[i % len(images)] for i in range(self.num_instances)]
        taken: list[int] = []
        while len(taken) < self.num_instances:
            if not queue:
                queue += rng.sample(group, len(group))
                queue.sort(key=lambda index: index not in taken)  # no image twice in a batch
            taken.append(queue.pop())
        return taken

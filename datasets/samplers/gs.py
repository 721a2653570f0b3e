"""GS: a P x K batch per identity, filled with its nearest identities (QAConv-GS, CVPR 2022)."""

from __future__ import annotations

from random import Random

from torch import Tensor

from datasets.samplers.neighbours import mean_hits
from datasets.samplers.options import SamplerOptions
from datasets.samplers.planner import EpochPlan, PKSampler
from datasets.sources import TrainingSet


class GraphSampler(PKSampler):
    """Plans one batch per identity: the identity and its P - 1 nearest, K images each.

    An identity is in many batches of an epoch. It takes its shuffled images in turn, so no image is
    drawn again before all have been drawn.

    Args:
        labels: label 0..I-1 of every image.
        num_pids: P, identities in a global batch.
        num_instances: K, images per identity; they are consecutive in the batch.
        seed: with the epoch, decides the plan.
        rank: this process.
        world_size: processes; each gets P / world_size identities of every batch.

    Raises:
        ValueError: fewer identities than P, or P is not divisible by the processes.
    """

    _neighbours: list[list[int]] | None = None
    _nearest: list[list[int]]

    def set_graph(self, neighbours: Tensor, nearest: Tensor | None = None) -> None:
        """Set the graph, as returned by `nearest_identities`.

        Args:
            neighbours: (I, P - 1 or more) labels to share a batch with, nearest first.
            nearest: (I, k) labels that count as hits; None = `neighbours`.

        Raises:
            ValueError: the number of rows is not the number of labels, or fewer than P - 1 columns,
                or -1 among the first P - 1.
        """
        rows, columns = neighbours.shape
        if rows != len(self._groups) or columns < self.num_pids - 1:
            raise ValueError(
                f"a graph of {rows} identities with {columns} neighbours for {len(self._groups)} "
                f"labels in batches of {self.num_pids}"
            )
        used = neighbours[:, : self.num_pids - 1]
        if bool((used < 0).any()):
            raise ValueError("a graph with missing neighbours (-1); GS needs P - 1 for each label")
        self._neighbours = used.tolist()
        self._nearest = (neighbours if nearest is None else nearest).tolist()
        self._plan = None

    def plan_epoch(self) -> EpochPlan:
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
        """The next K images of an identity; its queue is refilled when empty."""
        group = self._groups[label]
        if len(group) < self.num_instances:  # all of them, some repeated
            images = rng.sample(group, len(group))
            return [images[i % len(images)] for i in range(self.num_instances)]
        taken: list[int] = []
        while len(taken) < self.num_instances:
            if not queue:
                queue += rng.sample(group, len(group))
                queue.sort(key=lambda index: index not in taken)  # no image twice in a batch
            taken.append(queue.pop())
        return taken


def make_sampler(data: TrainingSet, options: SamplerOptions) -> GraphSampler:
    """The sampler of a training set."""
    return GraphSampler(data.labels, options.num_pids, options.num_instances, options.seed)

"""DFGS: P x K batches of look-alike identities from walks over a graph (CLIP-DFGS, TOMM 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from torch import Tensor

from datasets.samplers.chunks import camera_chunks
from datasets.samplers.neighbours import mean_hits, thirds
from datasets.samplers.options import SamplerOptions, WalkOptions
from datasets.samplers.planner import EpochPlan, PKSampler
from datasets.samplers.walks import SCARCITY, Walk, depth_first_walk, greedy_walk
from datasets.sources import TrainingSet

PAPER = WalkOptions()


class DepthFirstGraphSampler(PKSampler):
    """Fills every batch with P look-alike identities, K images each; batches are shuffled.

    `hits_first`, `hits_middle` and `hits_last` in its statistics are those of the thirds of the
    walk, before the shuffle.

    The caller provides the graph (`set_graph`), so the sampler needs no model. An epoch's plan
    depends only on the graph and (seed, epoch); it is the same on every process.

    Args:
        labels: label 0..I-1 of every image.
        camids: camera of every image; an identity's K images are spread over its cameras.
        num_pids: P, identities in a global batch.
        num_instances: K, images per identity; they are consecutive in the batch.
        seed: with the epoch, decides the plan.
        rank: this process.
        world_size: processes; each gets P / world_size identities of every batch.
        options: how to walk.

    Raises:
        ValueError: fewer identities than P, P is not divisible by the processes, or lengths differ.
    """

    def __init__(
        self,
        labels: Sequence[int],
        camids: Sequence[int],
        num_pids: int,
        num_instances: int,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        options: WalkOptions = PAPER,
    ) -> None:
        if len(labels) != len(camids):
            raise ValueError(f"{len(labels)} labels, but {len(camids)} camids")
        super().__init__(labels, num_pids, num_instances, seed, rank, world_size)
        self._camids = [int(camid) for camid in camids]
        self.options = options
        self._neighbours: list[list[int]] | None = None
        self._nearest: list[list[int]] = []

    def set_graph(self, neighbours: Tensor, nearest: Tensor | None = None) -> None:
        """Set the graph to walk over, as returned by `nearest_identities`.

        Args:
            neighbours: (I, k) labels to go to from every label; -1 = none.
            nearest: (I, NUM_HITS) labels that count as hits; None = `neighbours`.

        Raises:
            ValueError: the number of rows is not the number of labels.
        """
        if len(neighbours) != len(self._groups):
            raise ValueError(
                f"a graph of {len(neighbours)} identities for {len(self._groups)} labels"
            )
        rows = neighbours.tolist()
        self._neighbours = [[label for label in row if label >= 0] for row in rows]
        self._nearest = self._neighbours if nearest is None else nearest.tolist()
        self._plan = None

    def plan_epoch(self) -> EpochPlan:
        if self._neighbours is None:
            raise RuntimeError("the sampler has no graph yet: call set_graph first")
        rng = Random(f"depth first {self.seed} {self.epoch}")
        chunks = camera_chunks(self._groups, self._camids, self.num_instances, self.epoch, rng)
        most = self.options.max_visits or len(self._camids)
        visits = [min(len(own), most) for own in chunks]
        walk = self._walk(self._neighbours, visits, rng)
        first, middle, last = (mean_hits(part, self._nearest) for part in thirds(walk.batches))
        used = [0] * len(chunks)
        plan: list[list[int]] = []
        for batch in walk.batches:
            plan.append([])
            for label in batch:  # beyond its visits, a label repeats its chunks
                plan[-1] += chunks[label][used[label] % visits[label]]
                used[label] += 1
        drawn = {index for batch in plan for index in batch}
        num_images = sum(map(len, self._groups))
        labels = {label for batch in walk.batches for label in batch}
        yielded = len(plan) * self.num_pids * self.num_instances
        stats: dict[str, float] = {
            "batches": len(plan),
            "hits": mean_hits(walk.batches, self._nearest),
            "hits_first": first,
            "hits_middle": middle,
            "hits_last": last,
            "identity_coverage": len(labels) / len(self._groups),
            "image_coverage": len(drawn) / num_images,
            "restarts": walk.restarts,
            "dropped_images": num_images - len(drawn),
            "repeated_images": yielded - len(drawn),
        }
        rng.shuffle(plan)  # a walk stays in one part of the data for many batches
        return EpochPlan(plan, stats)

    def _walk(self, neighbours: list[list[int]], visits: list[int], rng: Random) -> Walk:
        options = self.options
        domains = options.domains and [options.domains[group[0]] for group in self._groups]
        if options.walk != "depth_first":
            scarcity = SCARCITY if options.walk == "balanced" else 0.0
            return greedy_walk(
                neighbours, visits, self.num_pids, rng, scarcity=scarcity, domains=domains
            )
        return depth_first_walk(
            neighbours,
            visits,
            self.num_pids,
            rng,
            shuffle_rows=options.shuffle_rows,
            domains=domains,
        )


def make_sampler(data: TrainingSet, options: SamplerOptions) -> DepthFirstGraphSampler:
    """The sampler of a training set."""
    return DepthFirstGraphSampler(
        data.labels,
        data.camids,
        options.num_pids,
        options.num_instances,
        options.seed,
        options=options.walk,
    )

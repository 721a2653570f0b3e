"""P x K batches of random identities (Hermans et al., 2017)."""

from __future__ import annotations

from random import Random

from datasets.samplers.chunks import random_chunks
from datasets.samplers.options import SamplerOptions
from datasets.samplers.planner import EpochPlan, PKSampler
from datasets.sources import TrainingSet


class RandomIdentitySampler(PKSampler):
    """Draws P random identities with K images each for every batch.

    While at least P identities have a chunk of K images left, P of them are drawn without
    replacement and give one chunk each.

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

    def plan_epoch(self) -> EpochPlan:
        rng = Random(f"random identities {self.seed} {self.epoch}")
        chunks = random_chunks(self._groups, self.num_instances, rng)
        plan = _draw_batches(chunks, self.num_pids, rng)
        drawn = {index for batch in plan for index in batch}
        num_images = sum(map(len, self._groups))
        seen = sum(not drawn.isdisjoint(group) for group in self._groups)
        stats = {
            "batches": float(len(plan)),
            "identity_coverage": seen / len(self._groups),
            "image_coverage": len(drawn) / num_images,
        }
        return EpochPlan(plan, stats)


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


def make_sampler(data: TrainingSet, options: SamplerOptions) -> RandomIdentitySampler:
    """The sampler of a training set."""
    return RandomIdentitySampler(data.labels, options.num_pids, options.num_instances, options.seed)

"""Shuffled batches."""

from __future__ import annotations

from random import Random

from datasets.samplers.options import SamplerOptions
from datasets.samplers.planner import EpochPlan, EpochPlanner
from datasets.sources import TrainingSet


class ShuffledSampler(EpochPlanner):
    """Every image once per epoch, in random order.

    A last batch of a single image is dropped: batch normalization cannot train on it.

    Args:
        num_images: size of the training set.
        batch_size: images per batch.
        seed: with the epoch, decides the order.

    Raises:
        ValueError: fewer than two images.
    """

    def __init__(self, num_images: int, batch_size: int, seed: int = 0) -> None:
        if num_images < 2:
            raise ValueError(f"training needs two images or more, got {num_images}")
        super().__init__(seed)
        self.num_images = num_images
        self.batch_size = batch_size

    def plan_epoch(self) -> EpochPlan:
        order = list(range(self.num_images))
        Random(f"shuffle {self.seed} {self.epoch}").shuffle(order)
        batches = [order[i : i + self.batch_size] for i in range(0, len(order), self.batch_size)]
        if len(batches[-1]) == 1:
            batches.pop()
        stats: dict[str, float] = {
            "batches": len(batches),
            "image_coverage": sum(map(len, batches)) / self.num_images,
        }
        return EpochPlan(batches, stats)


def make_sampler(data: TrainingSet, options: SamplerOptions) -> ShuffledSampler:
    """The sampler of a training set."""
    return ShuffledSampler(len(data.labels), options.batch_size, options.seed)

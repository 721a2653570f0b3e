"""Plain shuffled batches."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from time import perf_counter

from torch.utils.data import Sampler


class ShuffledSampler(Sampler[list[int]]):
    """Every image once an epoch in random order; a last batch of one image is left out.

    Batch normalization cannot train on a single image.

    Args:
        num_images: size of the training set.
        batch_size: images in a batch.
        seed: with the epoch, decides the order.

    Raises:
        ValueError: fewer than two images.
    """

    def __init__(self, num_images: int, batch_size: int, seed: int = 0) -> None:
        if num_images < 2:
            raise ValueError(f"training needs two images or more, there are {num_images}")
        self.num_images = num_images
        self.batch_size = batch_size
        self.seed = seed
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Shuffle by (seed, epoch)."""
        started = perf_counter()
        order = list(range(self.num_images))
        Random(f"shuffle {self.seed} {epoch}").shuffle(order)
        batches = [order[i : i + self.batch_size] for i in range(0, len(order), self.batch_size)]
        self._batches = batches if len(batches[-1]) > 1 else batches[:-1]
        covered = sum(map(len, self._batches)) / self.num_images
        self._stats: dict[str, float] = {
            "batches": len(self._batches),
            "image_coverage": covered,
        }
        self.plan_seconds = perf_counter() - started

    @property
    def stats(self) -> dict[str, float]:
        """Numbers of the epoch's plan: batches, coverage."""
        return self._stats

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self._batches)

    def __len__(self) -> int:
        return len(self._batches)

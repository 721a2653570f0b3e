"""Cut identities into chunks of K images, the parts that batches are made of."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random


def indices_by_label(labels: Sequence[int]) -> list[list[int]]:
    """Positions of every label's images, by label 0..C-1.

    Raises:
        ValueError: the labels are not 0..C-1 with at least one image each.
    """
    if not labels:
        raise ValueError("no labels: the training set is empty")
    groups: list[list[int]] = [[] for _ in range(max(labels) + 1)]
    for index, label in enumerate(labels):
        if label < 0:
            raise ValueError(f"labels are 0..C-1, not {label} (image {index})")
        groups[label].append(index)
    empty = [label for label, group in enumerate(groups) if not group]
    if empty:
        raise ValueError(f"labels are 0..C-1 without gaps; no image has label {empty[0]}")
    return groups


def random_chunks(
    groups: Sequence[Sequence[int]], num_instances: int, rng: Random
) -> list[list[list[int]]]:
    """Every identity's images in random chunks of exactly K, fresh for an epoch.

    An identity with fewer than K images fills one chunk by drawing with replacement; otherwise the
    remainder of a division by K is left out this epoch.

    Args:
        groups: image positions per label.
        num_instances: K.
        rng: source of randomness.

    Returns:
        Per label, its chunks.
    """
    chunks = []
    for group in groups:
        images = list(group)
        if len(images) < num_instances:
            images = rng.choices(images, k=num_instances)
        rng.shuffle(images)
        whole = len(images) - len(images) % num_instances
        chunks.append([images[i : i + num_instances] for i in range(0, whole, num_instances)])
    return chunks


def rank_slice(batch: Sequence[int], rank: int, world_size: int) -> list[int]:
    """The part of a global batch that process `rank` works on: consecutive, equally long."""
    share = len(batch) // world_size
    return list(batch[rank * share : (rank + 1) * share])

"""Cut identities into chunks of K images, the parts that batches are made of."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random


def indices_by_label(labels: Sequence[int]) -> list[list[int]]:
    """Positions of every label's images, by label 0..C-1.

    Raises:
        ValueError: the labels are not 0..C-1 with at least one image each.
    """
    labels = [int(label) for label in labels]  # of a list, an array or a tensor
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


def camera_chunks(
    groups: Sequence[Sequence[int]],
    camids: Sequence[int],
    num_instances: int,
    epoch: int,
    rng: Random,
) -> list[list[list[int]]]:
    """Every identity's images in chunks of exactly K from as many cameras as it has.

    An identity's images are dealt out to its chunks camera by camera, so that the chunks hold
    equally many images of a camera, give or take one. What a division by K leaves over moves on
    from epoch to epoch: every image is left out equally often. An identity with fewer than K images
    repeats them, each equally often, give or take one.

    Args:
        groups: image positions per label.
        camids: camera of every image.
        num_instances: K.
        epoch: decides which images are left over.
        rng: source of randomness.

    Returns:
        Per label, its chunks.
    """
    chunks = []
    for group in groups:
        count = max(len(group) // num_instances, 1)
        size = count * num_instances
        first = epoch * (len(group) - size) % len(group) if len(group) > size else 0
        turned = [*group[first:], *group[:first]][:size]
        turned += [turned[i % len(turned)] for i in range(size - len(turned))]
        rng.shuffle(turned)
        order = {camera: rng.random() for camera in {camids[i] for i in turned}}
        turned.sort(key=lambda i: order[camids[i]])
        own = [turned[start::count] for start in range(count)]
        for chunk in own:
            rng.shuffle(chunk)
        rng.shuffle(own)
        chunks.append(own)
    return chunks


def check_batch_shape(
    num_identities: int, num_pids: int, num_instances: int, world_size: int = 1
) -> None:
    """A batch of P distinct identities x K images must be possible, and divide among processes.

    Raises:
        ValueError: names the option to change.
    """
    if num_pids < 1 or num_instances < 1:
        raise ValueError(f"a batch needs P, K >= 1, not {num_pids} x {num_instances}")
    if num_identities < num_pids:
        raise ValueError(
            f"a batch of {num_pids} identities x {num_instances} images needs {num_pids} "
            f"identities, the training set has {num_identities}: lower "
            f"SOLVER.STAGE2.IMS_PER_BATCH to {num_identities * num_instances} or less"
        )
    if num_pids % world_size:
        raise ValueError(
            f"{num_pids} identities per batch do not divide among {world_size} processes: "
            "change SOLVER.STAGE2.IMS_PER_BATCH"
        )


def rank_slice(batch: Sequence[int], rank: int, world_size: int) -> list[int]:
    """The part of a global batch that process `rank` works on: consecutive, equally long."""
    share = len(batch) // world_size
    return list(batch[rank * share : (rank + 1) * share])

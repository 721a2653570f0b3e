"""Chunks: K images of one identity, the building blocks of P x K batches."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random


def indices_by_label(labels: Sequence[int]) -> list[list[int]]:
    """Positions of the images of every label 0..C-1.

    Raises:
        ValueError: the labels are not 0..C-1 with at least one image each.
    """
    labels = [int(label) for label in labels]  # from a list, an array or a tensor
    if not labels:
        raise ValueError("no labels: the training set is empty")
    groups: list[list[int]] = [[] for _ in range(max(labels) + 1)]
    for index, label in enumerate(labels):
        if label < 0:
            raise ValueError(f"labels must be 0..C-1, not {label} (image {index})")
        groups[label].append(index)
    empty = [label for label, group in enumerate(groups) if not group]
    if empty:
        raise ValueError(f"labels must be 0..C-1 without gaps; no image has label {empty[0]}")
    return groups


def random_chunks(
    groups: Sequence[Sequence[int]], num_instances: int, rng: Random
) -> list[list[list[int]]]:
    """Cut every identity's images into random chunks of exactly K.

    An identity with fewer than K images fills one chunk by drawing with replacement; of the others,
    images that do not fill a chunk are left out this epoch.

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
    """Cut every identity's images into chunks of exactly K, each spread over its cameras.

    Images are dealt to the chunks camera by camera, so the number of images from one camera differs
    by at most one between chunks. Images that do not fill a chunk are left out; they change from
    epoch to epoch, so every image is left out equally often. An identity with fewer than K images
    repeats them evenly.

    Args:
        groups: image positions per label.
        camids: camera of every image.
        num_instances: K.
        epoch: decides which images are left out.
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

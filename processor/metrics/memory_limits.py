"""Memory estimates of an evaluation, checked before it starts."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from processor.metrics.k_reciprocal import Reranking, place_of_sparse_rows
from processor.metrics.working_memory import CPU, WorkingMemory
from processor.runtime.device import available_bytes

BYTES_PER_NUMBER = 4  # float32 features and distances, int32 cells and neighbours
BYTES_PER_ENTRY = 8  # float32 value and int32 column of a sparse row in main memory
DEVICE_BYTES_PER_ENTRY = 12  # float32 value and int64 column on a device
OVERHEAD = 2**26  # buffers of libraries while ranking
RERANKING_OVERHEAD = 2**28  # of re-ranking, with a block of distances and temporary lists
RERANKING_REMEDY = "set TEST.RE_RANKING False or evaluate on a machine with more memory"
DEVICE_REMEDY = "set TEST.RE_RANKING False or MODEL.DEVICE cpu"


def refuse_beyond(available: int | None, needed: int, task: str, remedy: str) -> None:
    """Raise MemoryError if a task needs more bytes than are available; None = unknown, passes."""
    if available is not None and needed > available:
        raise MemoryError(
            f"{task} needs about {needed / 1e9:.1f} GB, have {available / 1e9:.1f} GB; {remedy}"
        )


def features_bytes(num_images: int, dim: int) -> int:
    """Bytes of (N, D) float32 features."""
    return BYTES_PER_NUMBER * num_images * dim


def ranking_bytes(num_query: int, num_gallery: int, memory: WorkingMemory) -> int:
    """Bytes of one block, which is all that ranking needs in addition to the features."""
    per_query = (memory.bytes_per_distance + BYTES_PER_NUMBER) * num_gallery  # with the cells
    block = max(int(memory.block_mb(per_query) * 2**20), per_query)
    return min(block, num_query * per_query) + OVERHEAD


def rerank_memory(
    num_query: int,
    num_gallery: int,
    dim: int,
    k1: int,
    k2: int,
    *,
    whole: bool = True,
    place: torch.device = CPU,
) -> int:
    """Estimate the bytes that re-ranking needs in addition to the features, where its weights are.

    The width of the sparse rows depends on the data; the estimate assumes the worst case, that
    neighbours have few neighbours in common.

    Args:
        num_query: Q.
        num_gallery: G.
        dim: D.
        k1: size of the neighbourhood.
        k2: images averaged over.
        whole: for `rerank`, which returns a (Q, G) matrix, instead of `rerank_blocks`.
        place: of the weights; see `place_of_sparse_rows`.
    """
    num_images = num_query + num_gallery
    nearest = BYTES_PER_NUMBER * num_images * max(k1 + 1, k2)
    set_size = min(2 * (k1 + 1), num_images)
    averaged = min((k1 + 1) * k2, num_images)
    entry = BYTES_PER_ENTRY if place == CPU else DEVICE_BYTES_PER_ENTRY
    sparse_rows = entry * num_images * (2 * set_size + 2 * averaged)  # with copies
    dense = BYTES_PER_NUMBER * num_query * num_gallery if whole else 0
    copied = features_bytes(num_images, dim)
    return copied + nearest + sparse_rows + dense + RERANKING_OVERHEAD


def check_ranking(
    num_query: int,
    num_gallery: int,
    memory: WorkingMemory,
    *,
    task: str = "evaluation",
    also: int = 0,
) -> None:
    """Check that a block of distances fits the free memory of its device.

    Args:
        num_query: Q.
        num_gallery: G.
        memory: for one block.
        task: name for the message.
        also: further bytes needed, independent of the block size.

    Raises:
        MemoryError: it does not fit; says how much is needed and available, and what to set.
    """
    available = available_bytes(memory.device)
    ways = ["lower TEST.CHUNK_MB"] if available is not None and also + OVERHEAD < available else []
    on_cpu = memory.device.type == "cpu"
    ways.append("evaluate on a machine with more memory" if on_cpu else "set MODEL.DEVICE cpu")
    needed = also + ranking_bytes(num_query, num_gallery, memory)
    refuse_beyond(available, needed, f"{task} ({memory.device})", " or ".join(ways))


def check_reranking(
    size: tuple[int, int, int],
    rerank: Reranking,
    device: torch.device,
    *,
    task: str = "re-ranking",
    whole: bool = False,
    features: int = 0,
) -> None:
    """Check that re-ranking fits the free memory where its weights are.

    Args:
        size: (Q, G, D).
        rerank: constants.
        device: of the features.
        task: name for the message.
        whole: as for `rerank_memory`.
        features: bytes that the features will take on their device.

    Raises:
        MemoryError: it does not fit; says how much is needed and available, and what to set.
    """
    place = place_of_sparse_rows(device)
    needed = rerank_memory(*size, rerank.k1, rerank.k2, whole=whole, place=place)
    if device == place:
        needed += features
    remedy = RERANKING_REMEDY if place == CPU else DEVICE_REMEDY
    refuse_beyond(available_bytes(place), needed, task, remedy)


def check_evaluation(
    name: str,
    sizes: Sequence[tuple[int, int]],
    num_images: int,
    dim: int,
    memory: WorkingMemory,
    rerank: Reranking | None = None,
    *,
    copies: float = 1,
) -> None:
    """Check that the features of a data set and the ranking of its splits fit the free memory.

    Args:
        name: of the data set.
        sizes: (Q, G) of each split.
        num_images: distinct images of all splits.
        dim: D.
        memory: for one block, on the device that holds the features.
        rerank: constants of re-ranking; None = no re-ranking.
        copies: of the features that are in this memory at once; see `gathering.copies_in_memory`.

    Raises:
        MemoryError: they do not fit; says how much is needed and available, and what to set.
    """
    for num_query, num_gallery in sizes:
        features = math.ceil(copies * features_bytes(num_images, dim))
        if num_query + num_gallery != num_images:  # the split's rows are copied from the table
            features += features_bytes(num_query + num_gallery, dim)
        check_ranking(num_query, num_gallery, memory, task=f"evaluation on {name}", also=features)
        if rerank is not None:
            size = (num_query, num_gallery, dim)
            check_reranking(
                size, rerank, memory.device, task=f"re-ranking {name}", features=features
            )

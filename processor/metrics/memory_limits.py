"""What an evaluation needs of memory, and the refusal of one that cannot fit."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from processor.metrics.distance import block_mb, bytes_per_distance
from processor.runtime.device import available_bytes

BYTES_PER_NUMBER = 4  # float32 features and distances, int32 cells and neighbours
BYTES_PER_ENTRY = 8  # float32 value and int32 column of a sparse row
OVERHEAD = 2**26  # buffers of libraries while ranking
RERANKING_OVERHEAD = 2**28  # and a block, lists in their making
RERANKING_REMEDY = "set TEST.RE_RANKING False or evaluate on a machine with more memory"


def refuse_beyond(available: int | None, needed: int, task: str, remedy: str) -> None:
    """Raise MemoryError if a task needs more bytes than there are; None = not known, passes."""
    if available is not None and needed > available:
        raise MemoryError(
            f"{task} needs about {needed / 1e9:.1f} GB, have {available / 1e9:.1f} GB; {remedy}"
        )


def features_bytes(num_images: int, dim: int) -> int:
    """Bytes of (N, D) float32 features."""
    return BYTES_PER_NUMBER * num_images * dim


def ranking_bytes(num_query: int, num_gallery: int, chunk_mb: float, device: torch.device) -> int:
    """Bytes that ranking G gallery images for Q queries needs above the features: one block."""
    per_query = (bytes_per_distance(device) + BYTES_PER_NUMBER) * num_gallery  # and the cells
    block = max(int(block_mb(per_query, chunk_mb, device) * 2**20), per_query)
    return min(block, num_query * per_query) + OVERHEAD


def rerank_memory(
    num_query: int, num_gallery: int, dim: int, k1: int, k2: int, *, whole: bool = True
) -> int:
    """Bytes of main memory that re-ranking is expected to need above the features it is given.

    The width of the sparse rows depends on the data; neighbours that have little in common are
    assumed, which is the worst case.

    Args:
        num_query: Q.
        num_gallery: G.
        dim: D.
        k1: size of the neighbourhood.
        k2: images averaged over.
        whole: `rerank`, which returns a (Q, G) matrix, and not `rerank_blocks`.
    """
    num_images = num_query + num_gallery
    nearest = BYTES_PER_NUMBER * num_images * max(k1 + 1, k2)
    set_size = min(2 * (k1 + 1), num_images)
    averaged = min((k1 + 1) * k2, num_images)
    sparse_rows = BYTES_PER_ENTRY * num_images * (2 * set_size + 2 * averaged)  # with copies
    dense = BYTES_PER_NUMBER * num_query * num_gallery if whole else 0
    copied = features_bytes(num_images, dim)
    return copied + nearest + sparse_rows + dense + RERANKING_OVERHEAD


def check_ranking(
    num_query: int,
    num_gallery: int,
    chunk_mb: float,
    device: torch.device,
    *,
    task: str = "evaluation",
    also: int = 0,
) -> None:
    """Look whether a block of distances fits the memory that a device has left.

    Args:
        num_query: Q.
        num_gallery: G.
        chunk_mb: TEST.CHUNK_MB.
        device: where the distances are made.
        task: what the message calls it.
        also: bytes needed besides, however small the blocks are.

    Raises:
        MemoryError: it does not; says how much is needed and there, and what to set.
    """
    available = available_bytes(device)
    ways = ["lower TEST.CHUNK_MB"] if available is not None and also + OVERHEAD < available else []
    on_cpu = device.type == "cpu"
    ways.append("evaluate on a machine with more memory" if on_cpu else "set MODEL.DEVICE cpu")
    needed = also + ranking_bytes(num_query, num_gallery, chunk_mb, device)
    refuse_beyond(available, needed, f"{task} ({device})", " or ".join(ways))


def check_evaluation(
    name: str,
    sizes: Sequence[tuple[int, int]],
    num_images: int,
    dim: int,
    chunk_mb: float,
    device: torch.device,
    rerank: tuple[int, int, float] | None,
) -> None:
    """Look whether the features of a data set and the ranking of its splits fit the memory.

    Args:
        name: the data set.
        sizes: (Q, G) of each split.
        num_images: different images of all splits.
        dim: D.
        chunk_mb: TEST.CHUNK_MB.
        device: where features and distances are.
        rerank: (k1, k2, lambda), None = off.

    Raises:
        MemoryError: they do not; says how much is needed and there, and what to set.
    """
    for num_query, num_gallery in sizes:
        features = features_bytes(num_images, dim)
        if num_query + num_gallery != num_images:  # rows of a split are picked, not a part
            features += features_bytes(num_query + num_gallery, dim)
        check_ranking(
            num_query, num_gallery, chunk_mb, device, task=f"evaluation on {name}", also=features
        )
        if rerank is not None:
            k1, k2, _ = rerank
            needed = rerank_memory(num_query, num_gallery, dim, k1, k2, whole=False)
            if device.type == "cpu":
                needed += features
            main_memory = available_bytes(torch.device("cpu"))
            refuse_beyond(main_memory, needed, f"re-ranking {name}", RERANKING_REMEDY)

"""Distances between query and gallery features, a chunk of queries at a time."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

FeatureArray: TypeAlias = Tensor | np.ndarray
METRICS = ("euclidean", "cosine")
ROWS_AT_ONCE = 256  # squared or scaled together, so that they stay in the cache
CACHED_MB = 32.0  # of a block of distances and what ranking adds to it, on a CPU
FEWEST_ROWS = 192  # of a block on a CPU, as a product of fewer is slower
SHORTEST = 1e-12  # length that a row of zeros is divided by


@dataclass(frozen=True, slots=True)
class DistanceBlock:
    """Distances of some queries to the whole gallery; the next block may overwrite the values."""

    rows: slice  # which queries
    values: Tensor  # (c, G), smaller = more alike


# makes the blocks of given query rows, as often as it is asked
DistanceSource: TypeAlias = Callable[[Iterator[slice]], Iterable[DistanceBlock]]


def normalize_features(features: FeatureArray) -> Tensor:
    """Scale every row to length 1: (N, D) -> (N, D) float32; a row of zeros stays zero."""
    return F.normalize(torch.as_tensor(features).float(), dim=1)


def normalize_in_place(features: Tensor) -> None:
    """`normalize_features` of (N, D) float32 that nobody else needs, without a second copy."""
    for part in features.split(ROWS_AT_ONCE):
        part /= torch.linalg.vector_norm(part, dim=1, keepdim=True).clamp_min(SHORTEST)


def check_finite(name: str, values: Tensor, first_row: int = 0) -> None:
    """Raise ValueError naming the array and its first bad row if it holds NaN or infinity.

    Args:
        name: what the message calls the array.
        values: (n, m) rows of it.
        first_row: where in the array they start.
    """
    low, high = torch.aminmax(values)  # NaN spreads through both, and no mask is allocated
    if torch.isfinite(low) and torch.isfinite(high):
        return
    row = first_row + int((~torch.isfinite(values)).any(dim=1).nonzero()[0])
    raise ValueError(f"{name}: NaN or infinite value, first in row {row}")


def check_features(query_features: FeatureArray, gallery_features: FeatureArray) -> list[Tensor]:
    """Both sides in float32 on the device of the query.

    Args:
        query_features: (Q, D), any float type.
        gallery_features: (G, D).

    Raises:
        ValueError: naming the array that is empty, not a matrix, of another width or not finite.
    """
    sides = [("query_features", query_features), ("gallery_features", gallery_features)]
    checked: list[Tensor] = []
    for name, given in sides:
        features = torch.as_tensor(given).detach()
        if features.ndim != 2:
            raise ValueError(f"{name}: expected a matrix, got shape {tuple(features.shape)}")
        if features.numel() == 0:
            raise ValueError(f"{name}: empty, shape {tuple(features.shape)}")
        features = features.float()
        check_finite(name, features)
        checked.append(features)
    query, gallery = checked
    if query.shape[1] != gallery.shape[1]:
        raise ValueError(
            f"query_features has {query.shape[1]} columns, gallery_features {gallery.shape[1]}"
        )
    return [query, gallery.to(query.device)]


def chunk_slices(num_rows: int, bytes_per_row: int, chunk_mb: float) -> Iterator[slice]:
    """Consecutive slices of 0..num_rows that need at most `chunk_mb` MiB each, or are one row."""
    if chunk_mb <= 0:
        raise ValueError(f"chunk_mb: expected a positive number of MiB, got {chunk_mb}")
    step = max(1, int(chunk_mb * 2**20) // bytes_per_row)
    for start in range(0, num_rows, step):
        yield slice(start, min(start + step, num_rows))


def bytes_per_distance(device: torch.device) -> int:
    """Memory of `distance_blocks` per distance of a block."""
    return 4 * blocks_in_memory(device)


def block_mb(bytes_per_row: int, chunk_mb: float, device: torch.device) -> float:
    """MiB of a block of distances: all of `chunk_mb`, but on a CPU what its caches hold.

    Args:
        bytes_per_row: memory that a query needs.
        chunk_mb: most that a block may take.
        device: where the distances are.
    """
    if device.type != "cpu":
        return chunk_mb
    return min(chunk_mb, max(CACHED_MB, FEWEST_ROWS * bytes_per_row / 2**20))


def distance_blocks(
    query: Tensor, gallery: Tensor, slices: Iterator[slice], metric: str = "euclidean"
) -> Iterator[DistanceBlock]:
    """Yield the distance matrix in blocks of query rows.

    "euclidean" is the squared distance |q|^2 + |g|^2 - 2 q.g, as CLIP-ReID ranks by (it may come
    out slightly below zero); "cosine" is 1 - cos(q, g).

    Args:
        query: (Q, D) float32.
        gallery: (G, D) float32 on the same device.
        slices: the query rows of each block; see `chunk_slices`.
        metric: one of METRICS.

    Raises:
        ValueError: unknown metric, or distances that overflow float32.
    """
    if metric not in METRICS:
        raise ValueError(f"metric: unknown {metric!r}; known: {', '.join(METRICS)}")
    if metric == "cosine":
        query, gallery = normalize_features(query), normalize_features(gallery)
        scale = -1.0
        row_term, column_term = query.new_ones(len(query)), gallery.new_zeros(len(gallery))
    else:
        scale = -2.0
        row_term, column_term = _squared_lengths(query), _squared_lengths(gallery)
    gallery = gallery.contiguous()
    memory = query.new_empty(0)  # one for all blocks: fresh pages cost as much as a small product
    for rows in slices:
        count = rows.stop - rows.start
        if len(memory) < count:
            memory = query.new_empty(count, len(gallery))
        values = memory[:count]
        # the factors are powers of two: they may as well scale the rows, without rounding
        scaled = scale * query[rows]
        with full_precision(query.device):
            add_products(scaled, gallery, row_term[rows, None], column_term, values)
        check_finite("distances", values, rows.start)
        yield DistanceBlock(rows, values)


def distmat_blocks(matrix: FeatureArray, slices: Iterator[slice]) -> Iterator[DistanceBlock]:
    """Yield a given distance matrix in blocks of query rows.

    Args:
        matrix: (Q, G); integers become float64, half precision float32.
        slices: the query rows of each block; see `chunk_slices`.

    Raises:
        ValueError: NaN or infinite distances.
    """
    for rows in slices:
        # NumPy rows are copied: they may be read-only or mapped from a file
        part = matrix[rows]
        values = part.detach() if isinstance(part, Tensor) else torch.from_numpy(np.array(part))
        if not values.is_floating_point():
            values = values.double()
        elif values.element_size() < 4:
            values = values.float()
        check_finite("distmat", values, rows.start)
        yield DistanceBlock(rows, values.contiguous())


def _squared_lengths(features: Tensor) -> Tensor:
    """(N, D) -> (N,); in parts, so that no second copy of the features exists."""
    lengths = features.new_empty(len(features))
    squares = features.new_empty(ROWS_AT_ONCE, features.shape[1])  # a new one each time piles up
    for part, out in zip(features.split(ROWS_AT_ONCE), lengths.split(ROWS_AT_ONCE), strict=True):
        torch.square(part, out=squares[: len(part)])
        torch.sum(squares[: len(part)], dim=1, out=out)
    return lengths


def add_products(
    rows: Tensor, columns: Tensor, row_term: Tensor, column_term: Tensor, out: Tensor
) -> None:
    """Write row_term + column_term + rows @ columns.T into `out`; inside `full_precision`.

    On an x86 CPU oneDNN multiplies, as of PyTorch 2.9: `torch.addmm` takes MKL there, which is
    about half as fast on processors that are not Intel's.

    Args:
        rows: (c, D) float32.
        columns: (G, D) float32, contiguous; neither it nor the rest of the arguments is copied.
        row_term: (c, 1) float32.
        column_term: (G,) float32.
        out: (c, G) float32.
    """
    if _has_onednn(rows.device):
        product = F.linear(rows.to_mkldnn(), columns, column_term)
        torch.add(product.to_dense(), row_term, out=out)
    else:
        torch.addmm(column_term, rows, columns.T, out=out)
        out += row_term


def blocks_in_memory(device: torch.device) -> int:
    """Blocks of the size of `out` that exist while `add_products` writes one."""
    return 3 if _has_onednn(device) else 1


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Products in true float32, whatever autocast or reduced precision the caller trains with."""
    before = [(backend, switch, getattr(backend, switch)) for backend, switch, _ in _switches()]
    for backend, switch, exact in _switches():
        setattr(backend, switch, exact)
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        for backend, switch, value in before:
            setattr(backend, switch, value)


def _switches() -> list[tuple[Any, str, Any]]:
    """(backend, attribute, value) of what makes float32 products less exact."""
    backend = torch.backends.cuda.matmul
    # PyTorch >= 2.9 forbids to read the older switch once the newer one was used
    if not _names_precision():
        return [(backend, "allow_tf32", False)]
    backends = (backend, torch.backends.mkldnn.matmul)  # type: ignore[attr-defined]
    return [(backend, "fp32_precision", "ieee") for backend in backends]


def _has_onednn(device: torch.device) -> bool:
    """Whether oneDNN is there and, as of PyTorch 2.9, multiplies without a copy of the columns."""
    on_x86 = platform.machine() in ("x86_64", "AMD64")
    known = device.type == "cpu" and on_x86 and torch.backends.mkldnn.is_available()
    return known and _names_precision()


def _names_precision() -> bool:
    """Whether PyTorch, 2.9 or newer, says by name how float32 is multiplied."""
    return hasattr(torch.backends.cuda.matmul, "fp32_precision")

"""k-reciprocal neighbours and their weights as in `k_reciprocal`, in operations of a GPU.

Sorted keys row * N + column take the place of sparse products.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from processor.metrics.distance import distance_blocks
from processor.metrics.sparse_rows import SparseRows, bounded_slices
from processor.metrics.working_memory import WorkingMemory

BYTES_PER_ENTRY = 64  # of a temporary entry, with what sorting takes


def expanded_neighbours(nearest: Tensor, k1: int, memory: WorkingMemory) -> SparseRows:
    """The k-reciprocal neighbours R(i), expanded by R'(c); see `k_reciprocal.expanded_neighbours`.

    Args:
        nearest: (N, k) nearest images of each image, itself first.
        k1: size of the neighbourhood.
        memory: for temporary entries.

    Returns:
        (N, N) with values 1.
    """
    num_images = len(nearest)
    own = _reciprocal(nearest[:, : k1 + 1])
    halves = _reciprocal(nearest[:, : round(k1 / 2) + 1])
    half_sizes = halves.lengths
    keys = own.row_numbers() * num_images + own.columns
    counts = _sum_by_row(half_sizes[own.columns], own)
    parts = []
    for rows in bounded_slices(counts, _entries(memory)):
        entries = slice(int(own.starts[rows.start]), int(own.starts[rows.stop]))
        image, candidate = keys[entries] // num_images, own.columns[entries]
        owners, places = halves.entries_of(candidate)
        found = image[owners] * num_images + halves.columns[places]
        shared = torch.zeros_like(candidate).index_add_(0, owners, _contains(keys, found).long())
        joins = 3 * shared > 2 * half_sizes[candidate]
        parts.append(torch.cat([keys[entries], found[joins[owners]]]).unique())
    joined = torch.cat(parts)
    ones = torch.ones(len(joined), device=nearest.device)
    return SparseRows.from_keys(joined, ones, num_images, num_images)


def neighbour_weights(
    neighbours: SparseRows, features: Tensor, row_scales: Tensor, memory: WorkingMemory
) -> SparseRows:
    """Weights exp(-d^2 / scale) of the entries of `neighbours`, each row of sum 1.

    Args:
        neighbours: (N, N); every image is its own neighbour.
        features: (N, D) float32; d is their Euclidean distance.
        row_scales: (N,).
        memory: for a block of distances.
    """
    num_images = len(features)
    weights = torch.empty_like(neighbours.values)
    bytes_per_row = memory.bytes_per_distance * num_images
    for block in distance_blocks(features, features, memory.blocks(num_images, bytes_per_row)):
        rows = neighbours.rows(block.rows)
        own, columns = rows.row_numbers(), rows.columns
        distances = block.values[own, columns].clamp_min(0)
        distances[columns == own + block.rows.start] = 0  # an image to itself, without rounding
        closeness = (-distances / row_scales[block.rows][own]).exp()
        start = int(neighbours.starts[block.rows.start])
        weights[start : start + len(own)] = closeness / _sum_by_row(closeness, rows)[own]
    return SparseRows(neighbours.starts, neighbours.columns, weights, num_images)


def average_over_nearest(weights: SparseRows, nearest: Tensor, memory: WorkingMemory) -> SparseRows:
    """For each of n images, the mean of the weights of its nearest ones `nearest[i]`, (n, k2)."""
    width = nearest.shape[1]
    counts = weights.lengths[nearest].sum(dim=1)
    keys, values = [], []
    for rows in bounded_slices(counts, _entries(memory)):
        owners, places = weights.entries_of(nearest[rows].flatten())
        found = (owners // width + rows.start) * weights.num_columns + weights.columns[places]
        distinct, inverse = found.unique(return_inverse=True)
        sums = torch.zeros(len(distinct), device=found.device)
        values.append(sums.index_add_(0, inverse, weights.values[places]) / width)
        keys.append(distinct)
    return SparseRows.from_keys(
        torch.cat(keys), torch.cat(values), len(nearest), weights.num_columns
    )


def overlaps(
    rows: SparseRows, index: SparseRows, memory: WorkingMemory
) -> Iterator[tuple[slice, Tensor]]:
    """Sums of minima sum_l min(V_il, W_jl) of rows V of one matrix with all rows W of another.

    They are added up in float64, so that the order, which a GPU leaves open, hardly matters.

    Args:
        rows: (n, L) V.
        index: (L, G) W, transposed.
        memory: for a block and its temporary entries.

    Yields:
        Consecutive rows and their (c, G) float64 sums.
    """
    dense = 8 * index.num_columns // BYTES_PER_ENTRY + 1  # of a row, in temporary entries
    counts = _sum_by_row(index.lengths[rows.columns], rows) + dense
    for chosen in bounded_slices(counts, _entries(memory)):
        part = rows.rows(chosen)
        owners, places = index.entries_of(part.columns)
        minima = torch.minimum(part.values[owners], index.values[places])
        cells = part.row_numbers()[owners] * index.num_columns + index.columns[places]
        sums = torch.zeros(
            part.num_rows * index.num_columns, dtype=torch.float64, device=cells.device
        )
        sums.index_add_(0, cells, minima.double())
        yield chosen, sums.view(part.num_rows, index.num_columns)


def _entries(memory: WorkingMemory) -> int:
    """Temporary entries that fit the memory."""
    return max(int(memory.mb * 2**20) // BYTES_PER_ENTRY, 1)


def _reciprocal(nearest: Tensor) -> SparseRows:
    """Ones at the entries (i, j) with j among the nearest of i, and i among those of j."""
    num_images = len(nearest)
    rows = torch.arange(num_images, device=nearest.device)[:, None].expand_as(nearest)
    keys = (rows * num_images + nearest).flatten().sort().values
    mirrored = keys % num_images * num_images + keys // num_images
    kept = keys[_contains(keys, mirrored)]
    ones = torch.ones(len(kept), device=nearest.device)
    return SparseRows.from_keys(kept, ones, num_images, num_images)


def _contains(keys: Tensor, wanted: Tensor) -> Tensor:
    """Which of the wanted keys are among ascending ones."""
    places = torch.searchsorted(keys, wanted).clamp_max(len(keys) - 1)
    return keys[places] == wanted


def _sum_by_row(values: Tensor, rows: SparseRows) -> Tensor:
    """(N,) sums of (E,) values over the entries of each row."""
    sums = torch.zeros(rows.num_rows, dtype=values.dtype, device=values.device)
    return sums.index_add_(0, rows.row_numbers(), values)

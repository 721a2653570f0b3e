"""Places of gallery images in a ranking, without sorting the gallery."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from processor.metrics.working_memory import WorkingMemory

TIE_ENTRIES = 2**22  # distances compared at a time to break ties


class EntryCounter:
    """Counts gallery entries in front of candidates; reuses its memory from chunk to chunk."""

    def __init__(self) -> None:
        self._cells = torch.empty(0, 0, dtype=torch.int32)

    def entries_before(
        self, distances: Tensor, values: np.ndarray, positions: np.ndarray
    ) -> np.ndarray:
        """Number of entries that a full stable sort would put before each candidate.

        Every distance falls into a cell between sorted limits; the running sums of the cell counts
        are the result. The limits are the candidates' distances and the next larger floats, which
        separate a candidate from the entries equal to it.

        Args:
            distances: (c, G).
            values: (c, M) distances of the candidates, ascending.
            positions: (c, M) of the candidates in the gallery.

        Returns:
            (c, M) int64.
        """
        limits = np.concatenate([values, np.nextafter(values, np.inf, dtype=values.dtype)], axis=1)
        order = limits.argsort(axis=1)
        limits = np.take_along_axis(limits, order, axis=1)
        place_in_limits = order.argsort(axis=1)
        below = self._entries_below(distances, limits)
        below = np.take_along_axis(below, place_in_limits, axis=1)
        smaller, not_larger = np.split(below, 2, axis=1)
        tied = not_larger - smaller > 1
        smaller[tied] += _ties_before(distances, tied.nonzero(), values[tied], positions[tied])
        return smaller

    def _entries_below(self, distances: Tensor, limits: np.ndarray) -> np.ndarray:
        """(c, L): how many of the (c, G) distances are smaller than each sorted limit."""
        num_rows, num_cells = len(limits), limits.shape[1] + 1
        if len(self._cells) < num_rows:
            self._cells = torch.empty_like(distances, dtype=torch.int32)
        cells = self._cells[:num_rows]
        sorted_limits = torch.from_numpy(limits).to(distances.device)
        torch.searchsorted(sorted_limits, distances, right=True, out_int32=True, out=cells)
        cells += torch.arange(num_rows, dtype=torch.int32, device=cells.device)[:, None] * num_cells
        counts = torch.bincount(cells.view(-1), minlength=num_rows * num_cells)
        return counts.cpu().numpy().reshape(num_rows, num_cells).cumsum(axis=1)[:, :-1]


def _ties_before(
    distances: Tensor, where: tuple[np.ndarray, ...], values: np.ndarray, positions: np.ndarray
) -> np.ndarray:
    """Number of entries equal to each candidate that are earlier in the gallery."""
    device = distances.device
    rows, limits, ends = (torch.from_numpy(a).to(device) for a in (where[0], values, positions))
    gallery = torch.arange(distances.shape[1], device=device)
    ties = torch.empty_like(rows)
    for part in WorkingMemory(TIE_ENTRIES / 2**20).chunks(len(rows), distances.shape[1]):
        equal = distances[rows[part]] == limits[part, None]
        equal &= gallery < ends[part, None]
        ties[part] = equal.sum(dim=1)
    return ties.cpu().numpy()


@dataclass(frozen=True, slots=True)
class Nearest:
    """The first K entries of each ranking."""

    values: Tensor  # (c, K) distances, ascending
    positions: Tensor  # (c, K) in the gallery


def nearest_entries(distances: Tensor, count: int) -> Nearest:
    """The first entries of a stable sort: equal distances come in gallery order.

    Args:
        distances: (c, G).
        count: K, clipped to G.
    """
    num_gallery = distances.shape[1]
    count = min(count, num_gallery)
    found = distances.topk(min(count + 1, num_gallery), largest=False)
    values, positions = found.values[:, :count], found.indices[:, :count]
    if count < num_gallery:  # topk keeps any of the entries equal to the last one; sort those rows
        cut_tie = (found.values[:, count - 1] == found.values[:, count]).nonzero().flatten()
        for row in cut_tie.tolist():
            ordered = distances[row].sort(stable=True)
            values[row], positions[row] = ordered.values[:count], ordered.indices[:count]
    by_position = positions.argsort(dim=1)
    values, positions = values.gather(1, by_position), positions.gather(1, by_position)
    by_value = values.argsort(dim=1, stable=True)
    return Nearest(values.gather(1, by_value), positions.gather(1, by_value))

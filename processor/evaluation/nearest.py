"""The nearest entries of a block of distances."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Nearest:
    """The first K entries of each ranking."""

    values: Tensor  # (c, K) distances, ascending
    positions: Tensor  # (c, K) places in the gallery


def nearest_entries(distances: Tensor, count: int) -> Nearest:
    """The start of a stable sort: equal distances come in gallery order.

    Args:
        distances: (c, G).
        count: K, clipped to G.
    """
    num_gallery = distances.shape[1]
    count = min(count, num_gallery)
    found = distances.topk(min(count + 1, num_gallery), largest=False)
    values, positions = found.values[:, :count], found.indices[:, :count]
    if count < num_gallery:  # equal entries on both sides of the cut: which of them are first?
        cut_tie = (found.values[:, count - 1] == found.values[:, count]).nonzero().flatten()
        for row in cut_tie.tolist():
            ordered = distances[row].sort(stable=True)
            values[row], positions[row] = ordered.values[:count], ordered.indices[:count]
    by_position = positions.argsort(dim=1)
    values, positions = values.gather(1, by_position), positions.gather(1, by_position)
    by_value = values.argsort(dim=1, stable=True)
    return Nearest(values.gather(1, by_value), positions.gather(1, by_value))

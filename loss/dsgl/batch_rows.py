"""Rows of a batch: which are equal, and writing them into a table in a fixed order."""

from __future__ import annotations

import torch
from torch import Tensor


def moved(values: Tensor, device: torch.device) -> Tensor:
    """`values` on a device; neither a CUDA device nor the program waits for the copy."""
    if device.type == "cuda" and values.device.type == "cpu":
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)


def first_of_equal(keys: Tensor) -> Tensor:
    """(B,) integers -> (B,) position of the first entry with the same value."""
    places = torch.arange(len(keys), device=keys.device)
    same = keys[:, None] == keys[None, :]
    return torch.where(same, places, len(keys)).amin(1)


def last_of_equal(keys: Tensor) -> Tensor:
    """(B,) integers -> (B,) position of the last entry with the same value."""
    places = torch.arange(len(keys), device=keys.device)
    same = keys[:, None] == keys[None, :]
    return torch.where(same, places, -1).amax(1)


def add_rows(table: Tensor, places: Tensor, rows: Tensor) -> None:
    """Add (n, D) rows to `table` (R, D) at `places` (n,), in place; repeated places accumulate."""
    if table.is_cuda:  # index_add_ has no fixed order there; index_put_ sorts first
        table.index_put_((places,), rows, accumulate=True)
    else:
        table.index_add_(0, places, rows)

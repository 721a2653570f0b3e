"""Writing a batch's rows into a table, deterministically even where indices repeat."""

from __future__ import annotations

import torch
from torch import Tensor


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

"""Rows of a batch written into a table whose rows it may name more than once, in a fixed order."""

from __future__ import annotations

import torch
from torch import Tensor


def first_of_equal(keys: Tensor) -> Tensor:
    """(B,) integers -> (B,) place in the batch of the first with the same value."""
    places = torch.arange(len(keys), device=keys.device)
    same = keys[:, None] == keys[None, :]
    return torch.where(same, places, len(keys)).amin(1)


def last_of_equal(keys: Tensor) -> Tensor:
    """(B,) integers -> (B,) place in the batch of the last with the same value."""
    places = torch.arange(len(keys), device=keys.device)
    same = keys[:, None] == keys[None, :]
    return torch.where(same, places, -1).amax(1)


def add_rows(table: Tensor, places: Tensor, rows: Tensor) -> None:
    """Add (n, D) rows to `table` (R, D) at `places` (n,), each time a place occurs, in place."""
    if table.is_cuda:  # there index_add_ adds in no fixed order and this one sorts first
        table.index_put_((places,), rows, accumulate=True)
    else:
        table.index_add_(0, places, rows)

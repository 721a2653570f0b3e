"""Matrix products in float32, by the fastest way a device has."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


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

"""Matrix products in true float32."""

from __future__ import annotations

import platform

import torch
import torch.nn.functional as F
from torch import Tensor

from processor.runtime.float32 import has_precision_names


def add_products(
    rows: Tensor, columns: Tensor, row_term: Tensor, column_term: Tensor, out: Tensor
) -> None:
    """Write row_term + column_term + rows @ columns.T into `out`; call inside `full_precision`.

    On x86 CPUs the product is oneDNN's: as of PyTorch 2.9, `torch.addmm` uses MKL there, which is
    about half as fast on processors other than Intel's.

    Args:
        rows: (c, D) float32.
        columns: (G, D) float32, contiguous; neither copied nor changed, like the other arguments.
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


def products_in_memory(device: torch.device) -> int:
    """Matrices of the size of `out` that exist while `add_products` runs."""
    return 3 if _has_onednn(device) else 1


def _has_onednn(device: torch.device) -> bool:
    """Whether oneDNN multiplies on this device without copying the columns (PyTorch >= 2.9)."""
    on_x86 = platform.machine() in ("x86_64", "AMD64")
    known = device.type == "cpu" and on_x86 and torch.backends.mkldnn.is_available()
    return known and has_precision_names()

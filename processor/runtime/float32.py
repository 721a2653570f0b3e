"""True float32, which GPUs and CPUs may replace by faster formats."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Compute in float32, regardless of the caller's autocast or reduced precision."""
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
    """(backend, attribute, exact value) of what reduces the precision of products, convolutions."""
    # PyTorch >= 2.9 forbids reading the older switch once the newer one was used
    if not has_precision_names():
        backends = (torch.backends.cuda.matmul, torch.backends.cudnn)
        return [(backend, "allow_tf32", False) for backend in backends]
    products = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)  # type: ignore[attr-defined]
    convolutions = (torch.backends.cudnn.conv, torch.backends.mkldnn.conv)  # type: ignore[attr-defined]
    return [(backend, "fp32_precision", "ieee") for backend in (*products, *convolutions)]


def has_precision_names() -> bool:
    """Whether PyTorch (>= 2.9) names the precision of float32 products."""
    return hasattr(torch.backends.cuda.matmul, "fp32_precision")

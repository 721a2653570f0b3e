"""Seeds and random states."""

from __future__ import annotations

import os
import random
import zlib
from typing import Any

import numpy as np
import torch


def seed_everything(*parts: int | str) -> None:
    """Seed Python, NumPy and torch from any numbers and words, e.g. (seed, stage, epoch)."""
    seed = zlib.crc32("/".join(map(str, parts)).encode())
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - for libraries that draw from the global generator
    torch.manual_seed(seed)


def use_deterministic_kernels() -> None:
    """Prefer deterministic GPU kernels and warn where none exists; call before using a GPU."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(mode=True, warn_only=True)
    torch.backends.cudnn.benchmark = False


def random_state() -> dict[str, Any]:
    """States of Python's and torch's global generators as tensors and numbers.

    Of several GPUs, it is the state of the process's own one.
    """
    version, internal, gauss = random.getstate()
    state: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "python": [version, torch.tensor(internal, dtype=torch.int64), gauss],
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def restore_random_state(state: dict[str, Any]) -> None:
    """Restore the states of `random_state`."""
    torch.set_rng_state(state["torch"])
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal.tolist()), gauss))
    if "cuda" in state and torch.cuda.is_available():
        cuda = state["cuda"]  # a list of all devices' in files of earlier versions
        torch.cuda.set_rng_state(cuda[0] if isinstance(cuda, list) else cuda)

"""Random clustered features, timing and memory measurement for the benchmarks."""

from __future__ import annotations

import multiprocessing
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

ROWS_AT_ONCE = 4096  # drawn at a time, so that no second copy of the features exists


@dataclass(frozen=True)
class Size:
    """A retrieval to draw.

    Attributes:
        num_query: Q.
        num_gallery: G.
        dim: D.
        num_pids: identities, one cluster each.
        spread: standard deviation of images from their identity; that of identities is 1.
    """

    num_query: int
    num_gallery: int
    dim: int
    num_pids: int
    spread: float = 3.0

    def __str__(self) -> str:
        return f"{self.num_query:,} x {self.num_gallery:,} x {self.dim:,}"


@dataclass(frozen=True)
class Retrieval:
    """Random features of length 1 in one tensor, queries first, and their ids."""

    query: Tensor
    gallery: Tensor
    ids: tuple[np.ndarray, ...]  # pids of both sides, camids of both sides


def draw(size: Size) -> Retrieval:
    """Normal clusters, six cameras."""
    generator = torch.Generator().manual_seed(0)
    num_images = size.num_query + size.num_gallery
    centres = torch.randn(size.num_pids, size.dim, generator=generator)
    pids = torch.randint(size.num_pids, (num_images,), generator=generator)
    camids = torch.randint(6, (num_images,), generator=generator)
    features = torch.empty(num_images, size.dim)
    for start in range(0, num_images, ROWS_AT_ONCE):
        part = features[start : start + ROWS_AT_ONCE]
        part.normal_(std=size.spread, generator=generator)
        part += centres[pids[start : start + ROWS_AT_ONCE]]
        part /= part.norm(dim=1, keepdim=True)
    sides = (slice(0, size.num_query), slice(size.num_query, None))
    ids = tuple(values[side].numpy() for values in (pids, camids) for side in sides)
    return Retrieval(features[sides[0]], features[sides[1]], ids)


def timed(ways: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Median seconds of each function; they run in turns, so that other load slows all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in seconds.items()}


def growth_gb(task: Callable[[], Any]) -> float:
    """Rise of this process's peak memory during a task, in 10^9 bytes."""
    before = status_bytes("VmRSS")
    task()
    return (status_bytes("VmHWM") - before) / 1e9


def in_new_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function of the script's module in a new process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def describe_machine() -> str:
    """Processor and versions, as a line."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
        name = next((x.split(": ")[1] for x in lines if x.startswith("model name")), name)
    versions = f"torch {torch.__version__}, numpy {np.__version__}, scipy {scipy.__version__}"
    return (
        f"{name}, {torch.get_num_threads()} threads, {versions}, Python {platform.python_version()}"
    )


def load() -> str:
    """Load average of the machine."""
    return f"load {os.getloadavg()[0]:.1f}"


def print_table(*rows: tuple[Any, ...]) -> None:
    """Print rows as Markdown, the first one as the heading."""
    for number, row in enumerate(rows):
        print("|", " | ".join(map(str, row)), "|")
        if not number:
            print("|" + "---|" * len(row), flush=True)


def status_bytes(entry: str) -> int:
    """A size in /proc/self/status, in bytes: VmHWM is the peak of the resident memory."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split(f"{entry}:")[1].split()[0]) * 1024

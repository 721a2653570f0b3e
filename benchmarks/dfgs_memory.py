"""Memory and time of the graph and of a plan at large sizes: python benchmarks/dfgs_memory.py.

Every case runs in its own process, whose growth in peak memory is measured. The size of the dense
distance matrix, which is never built, is given for comparison.
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from datasets.samplers import DepthFirstGraphSampler, nearest_identities

CASES = [(8_000, 200_000, 512), (16_719, 88_000, 512), (100_000, 400_000, 512)]
NUM_PIDS, NUM_INSTANCES, NUM_NEIGHBOURS = 32, 4, 10


def peak_gb() -> float:
    """Largest memory this process has held so far, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def run(case: tuple[int, int, int]) -> str:
    """A row of the table."""
    num_labels, num_images, width = case
    generator = torch.Generator().manual_seed(0)
    extra = torch.randint(num_labels, (num_images - num_labels,), generator=generator).tolist()
    labels = sorted([*range(num_labels), *extra])
    camids = torch.randint(6, (num_images,), generator=generator).tolist()
    features = torch.randn(num_labels, width, generator=generator)
    nearest_identities(features[:100], NUM_NEIGHBOURS)  # loads libraries
    before, started = peak_gb(), time.perf_counter()
    neighbours = nearest_identities(features, NUM_NEIGHBOURS)
    graph = time.perf_counter() - started
    sampler = DepthFirstGraphSampler(labels, camids, NUM_PIDS, NUM_INSTANCES)
    sampler.set_graph(neighbours)
    batches = len(sampler)
    whole = time.perf_counter() - started
    dense = num_labels**2 * 4 / 2**30
    cells = (f"{num_labels:,}", f"{num_images:,}", width, f"{batches:,}", f"{graph:.1f}")
    row = (*cells, f"{whole - graph:.1f}", f"{peak_gb() - before:.2f}", f"{dense:.1f}")
    return f"| {' | '.join(map(str, row))} |"


def main() -> None:
    """Print one Markdown table."""
    print(
        "| identities | images | width | batches | graph s | plan s | extra GB | dense matrix GB |"
    )
    print("|---|---|---|---|---|---|---|---|")
    context = multiprocessing.get_context("spawn")
    for case in CASES:
        with context.Pool(1) as pool:
            print(pool.apply(run, (case,)), flush=True)


if __name__ == "__main__":
    main()

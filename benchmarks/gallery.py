"""One query in a gallery, against a full sort of all distances: python benchmarks/gallery.py."""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from processor.search.gallery import Gallery


def median_ms(action: Callable[[], object], repeats: int) -> float:
    """Median time of an action in milliseconds."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        action()
        times.append(1000 * (time.perf_counter() - started))
    return statistics.median(times)


def main() -> None:
    """Print both medians and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--repeats", type=int, default=30)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(arguments.rows, arguments.width, generator=generator)
    gallery = Gallery()
    gallery.add(rows, [f"name {i}" for i in range(arguments.rows)])
    unit, query = torch.nn.functional.normalize(rows), rows[7:8]

    def sort() -> torch.Tensor:
        return torch.cdist(torch.nn.functional.normalize(query), unit)[0].argsort()[:10]

    assert gallery.search(query)[0][0].key == int(sort()[0]) == 7
    own = median_ms(lambda: gallery.search(query), arguments.repeats)
    other = median_ms(sort, arguments.repeats)
    print(f"{arguments.rows} x {arguments.width}, one thread, one query, top 10")
    print(f"gallery {own:.1f} ms, all distances sorted {other:.1f} ms, ratio {own / other:.2f}")


if __name__ == "__main__":
    main()

"""Search of a large gallery against a full sort: python benchmarks/search.py.

NumPy's implementation is the usual one: distance matrix and stable argsort of every row. The
product alone multiplies queries and gallery. All run in one process, in turns; memory is measured
in a separate process. `--index` also measures faiss: building and searching an approximate index,
and the share of the true neighbours that it finds.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from drawn_features import (
    Retrieval,
    Size,
    describe_machine,
    draw,
    growth_gb,
    in_new_process,
    load,
    print_table,
    timed,
)
from evaluation import products

from processor.search.exact import Neighbours, search
from processor.search.faiss_index import FaissIndex

LARGE = Size(100, 200_000, 1_280, 2_000, spread=1.0)
TOP = 10
TOLERANCE = 1e-5  # of distances: NumPy's are roots of float32 squares


def full_sort(query: np.ndarray, gallery: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The TOP nearest rows (Q, TOP) and their distances; at equal distances the lower row first."""
    squares = np.square(query).sum(axis=1)[:, None] + np.square(gallery).sum(axis=1)
    distances = np.sqrt(np.maximum(squares - 2 * query @ gallery.T, 0))
    order = np.argsort(distances, axis=1, kind="stable")[:, :TOP]
    return order, np.take_along_axis(distances, order, axis=1)


def compare(size: Size, repeats: int) -> list[tuple[str, ...]]:
    """Rows of the table; exits if the results differ."""
    data = draw(size)
    ours: Callable[[], Neighbours] = partial(search, data.query, data.gallery, TOP)
    theirs: Callable[[], Any] = partial(full_sort, data.query.numpy(), data.gallery.numpy())
    found, (order, distances) = ours(), theirs()
    other = int((found.indices.numpy() != order).sum())
    gap = float(np.abs(found.distances.numpy() - distances).max())
    print(f"\n{other} of {order.size:,} neighbours differ; largest difference {gap:.1e}.\n")
    if gap > TOLERANCE:
        sys.exit("the results disagree")
    ways = {"search in blocks": ours, "matrix, argsort, NumPy": theirs, **products(data)}
    seconds = timed(ways, repeats)
    own = seconds["search in blocks"]
    rows = [("implementation", "seconds", "speedup of blocks")]
    rows += [(name, f"{value:.2f}", f"{value / own:.2f}") for name, value in seconds.items()]
    return rows


def search_growth(size: Size) -> float:
    """Extra GB of `search`."""
    data = draw(size)
    search(data.query[:2], data.gallery[:100], TOP)  # loads libraries
    return growth_gb(lambda: search(data.query, data.gallery, TOP))


def compare_index(data: Retrieval) -> list[tuple[str, ...]]:
    """Rows of the table of an approximate index."""
    true = search(data.query, data.gallery, TOP).indices
    rows: list[tuple[str, ...]] = [("implementation", "seconds", "share of the true neighbours")]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "gallery.faiss"
        for name in ("flat", "ivfpq, index made", "ivfpq, index from its file"):
            kind = name.partition(",")[0]
            started = time.perf_counter()
            found = FaissIndex(data.gallery, kind, file).search(data.query, TOP).indices
            seconds = time.perf_counter() - started
            share = (found[:, :, None] == true[:, None]).any(dim=2).double().mean()
            rows.append((name, f"{seconds:.2f}", f"{share:.3f}"))
    return rows


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5, help="runs of each implementation")
    parser.add_argument(
        "--index", action="store_true", help="also measure faiss, which must be installed"
    )
    arguments = parser.parse_args()
    print(f"{describe_machine()}, {load()}\n\n**{LARGE}**, top {TOP}, medians")
    print_table(*compare(LARGE, arguments.repeats))
    features = 4e-9 * (LARGE.num_query + LARGE.num_gallery) * LARGE.dim
    growth = in_new_process(search_growth, LARGE)
    print(f"\nFeatures {features:.2f} GB; search {growth:.2f} GB in addition.")
    if arguments.index:
        print()
        print_table(*compare_index(draw(LARGE)))


if __name__ == "__main__":
    main()

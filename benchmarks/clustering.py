"""Pseudo labels of a large training set: python benchmarks/clustering.py.

Time and memory of Jaccard distances and DBSCAN on random features, in a separate process. `--large`
adds a training set of the size of MSMT17's. First, at 2,000 images, the clusters are compared with
those of the published definition, computed with dense (N, N) matrices.
"""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np
from drawn_features import (
    Size,
    describe_machine,
    draw,
    growth_gb,
    in_new_process,
    load,
    print_table,
)
from sklearn.cluster import DBSCAN

from processor.clustering import cluster, describe_clusters, jaccard_distance

# no queries: all images are training images
SMALL = Size(0, 2_000, 2_048, 120, spread=3.5)
MARKET = Size(0, 12_936, 2_048, 751, spread=3.5)
MSMT = Size(0, 32_621, 2_048, 1_041, spread=3.5)
K1, K2, EPS, MIN_SAMPLES = 30, 6, 0.6, 4


def dense_jaccard(features: np.ndarray) -> np.ndarray:
    """(N, D) unit rows -> (N, N) distances, with four matrices of that size."""
    squared = 2 - 2 * features @ features.T
    np.fill_diagonal(squared, -1)
    order = squared.argsort(axis=1, kind="stable")[:, :K1]
    whole, half = _mutual(order), _mutual(order[:, : round(K1 / 2) + 1])
    weights = np.zeros_like(squared)
    for i, own in enumerate(whole):
        neighbours = own.copy()
        for candidate in np.flatnonzero(own):
            others = half[candidate]
            if (others & own).sum() > 2 / 3 * others.sum():
                neighbours |= others
        closeness = np.exp(-(2 - 2 * features[neighbours] @ features[i]))
        weights[i, neighbours] = closeness / closeness.sum()
    averaged = np.stack([weights[nearest[:K2]].mean(axis=0) for nearest in order])
    overlap = np.stack([np.minimum(averaged, row).sum(axis=1) for row in averaged])
    return np.maximum(1 - overlap / (2 - overlap), 0)


def _mutual(order: np.ndarray) -> np.ndarray:
    """(N, k) nearest -> (N, N) bool: each is among the nearest of the other."""
    near = np.zeros((len(order), len(order)), dtype=bool)
    np.put_along_axis(near, order, values=True, axis=1)
    return near & near.T


def compare() -> list[tuple[str, ...]]:
    """Rows of the table at 2,000 images; exits if the clusters differ."""
    features = draw(SMALL).gallery
    started = time.perf_counter()
    expected = DBSCAN(eps=EPS, min_samples=MIN_SAMPLES, metric="precomputed").fit_predict(
        dense_jaccard(features.numpy())
    )
    dense = time.perf_counter() - started
    started = time.perf_counter()
    labels = cluster(jaccard_distance(features, K1, K2, max_distance=EPS), EPS, MIN_SAMPLES)
    sparse = time.perf_counter() - started
    if not np.array_equal(labels, expected):
        sys.exit(f"{(labels != expected).sum()} of {len(labels)} images have another cluster")
    found = describe_clusters(labels)
    clusters = (f"{found.clusters:,}", f"{found.outliers:,}")
    return [
        ("implementation", "seconds", "clusters", "outliers"),
        ("dense, NumPy", f"{dense:.1f}", *clusters),
        ("sparse", f"{sparse:.1f}", *clusters),
    ]


def measure(size: Size) -> tuple[str, ...]:
    """A row of the table of large training sets."""
    few = draw(Size(0, 300, 8, 20, spread=0.2)).gallery
    cluster(jaccard_distance(few, K1, K2), EPS)  # loads libraries
    retrieval = draw(size)
    seconds = []
    found = []

    def task() -> None:
        started = time.perf_counter()
        distance = jaccard_distance(retrieval.gallery, K1, K2, max_distance=EPS)
        seconds.append(time.perf_counter() - started)
        labels = cluster(distance, EPS, MIN_SAMPLES)
        seconds.append(time.perf_counter() - started - seconds[0])
        found.append(describe_clusters(labels, retrieval.ids[1]))

    growth = growth_gb(task)
    dense = 4 * size.num_gallery**2 / 1e9
    statistics = found[0]
    return (
        f"{size.num_gallery:,} x {size.dim:,}",
        *(f"{value:.1f}" for value in seconds),
        f"{growth:.2f}",
        f"{dense:.2f}",
        f"{statistics.clusters:,}",
        f"{statistics.outliers:,}",
        f"{statistics.ari:.2f}",
    )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--large", action="store_true", help="also a training set like MSMT17's")
    arguments = parser.parse_args()
    print(f"{describe_machine()}, {load()}")
    print(f"k1 = {K1}, k2 = {K2}, eps = {EPS}, {MIN_SAMPLES} samples")
    print(f"\n**{SMALL.num_gallery:,} images x {SMALL.dim:,}, equal clusters**\n")
    print_table(*compare())
    print("\nMemory in addition to the features, in a separate process:\n")
    times = ("images x width", "Jaccard s", "DBSCAN s", "extra GB", "one dense matrix GB")
    rows = [(*times, "clusters", "outliers", "ARI")]
    for size in (MARKET, MSMT) if arguments.large else (MARKET,):
        rows.append(in_new_process(measure, size))
    print_table(*rows)


if __name__ == "__main__":
    main()

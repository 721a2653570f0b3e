"""Re-ranking with sparse matrices against dense ones in NumPy: python benchmarks/reranking.py.

The dense implementation is the published algorithm (Zhong et al., CVPR 2017) with float32 (N, N)
matrices. Both compute the same (Q, G) distances in one process; memory is measured in separate
processes. `--large` adds a gallery of the size of MSMT17's, re-ranked block by block.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
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

from processor.evaluation import evaluate_distmat, rerank
from processor.metrics.identities import Identities
from processor.metrics.k_reciprocal import Reranking
from processor.metrics.memory_limits import rerank_memory
from processor.metrics.ranking import evaluate_blocks
from processor.metrics.reranking import rerank_blocks
from processor.metrics.working_memory import WorkingMemory

MARKET = Size(3_368, 15_913, 512, 1_501, spread=2.5)
MSMT = Size(11_659, 82_161, 512, 4_101, spread=2.5)
K1, K2, LAMBDA = 50, 15, 0.3
CHUNK_MB = 512  # TEST.CHUNK_MB


def dense_rerank(query: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """(Q, D), (G, D) float32 -> (Q, G), with three matrices of (N, N)."""
    num_query = len(query)
    features = np.concatenate([query, gallery])
    squares = np.square(features).sum(axis=1)
    original = squares[:, None] + squares - 2 * features @ features.T
    original /= original.max(axis=1, keepdims=True)
    width = max(K1 + 1, K2)
    order = np.concatenate(
        [rows.argsort(axis=1)[:, :width].astype(np.int32) for rows in np.array_split(original, 20)]
    )
    weights = np.zeros_like(original)
    for i in range(len(features)):
        neighbours = _expanded(order, i)
        closeness = np.exp(-original[i, neighbours])
        weights[i, neighbours] = closeness / closeness.sum()
    original = original[:num_query].copy()
    averaged = np.empty_like(weights)
    for i in range(len(features)):
        averaged[i] = weights[order[i, :K2]].mean(axis=0)
    del weights
    holders = [np.flatnonzero(column) for column in np.ascontiguousarray(averaged.T)]
    distances = np.empty_like(original)
    for i in range(num_query):
        overlap = np.zeros(len(features), dtype=np.float32)
        for j in np.flatnonzero(averaged[i]):
            overlap[holders[j]] += np.minimum(averaged[i, j], averaged[holders[j], j])
        distances[i] = (1 - LAMBDA) * (1 - overlap / (2 - overlap)) + LAMBDA * original[i]
    return distances[:, num_query:]


def _mutual(order: np.ndarray, i: int, k: int) -> np.ndarray:
    """Mutual neighbours of image i among the first k + 1."""
    nearest = order[i, : k + 1]
    return nearest[(order[nearest, : k + 1] == i).any(axis=1)]


def _expanded(order: np.ndarray, i: int) -> np.ndarray:
    own = _mutual(order, i, K1)
    joined = [own]
    for candidate in own:
        others = _mutual(order, candidate, round(K1 / 2))
        if len(np.intersect1d(others, own)) > 2 / 3 * len(others):
            joined.append(others)
    return np.unique(np.concatenate(joined))


def compare(data: Retrieval, repeats: int) -> list[tuple[str, ...]]:
    """Rows of the table; exits if the results differ."""
    found: dict[str, np.ndarray] = {}

    def dense() -> None:
        found["dense"] = dense_rerank(data.query.numpy(), data.gallery.numpy())

    def sparse() -> None:
        found["sparse"] = rerank(data.query, data.gallery, K1, K2, LAMBDA).numpy()

    sparse()  # loads libraries
    seconds = timed({"dense": dense, "sparse": sparse}, repeats)
    ratio = seconds["dense"] / seconds["sparse"]
    differs = np.abs(found["dense"] - found["sparse"])
    scores = {name: evaluate_distmat(matrix, *data.ids).mAP for name, matrix in found.items()}
    # rounding decides which of two nearly equal distances is the 51st neighbour
    if (differs > 1e-5).mean() > 0.01 or abs(scores["dense"] - scores["sparse"]) > 1e-4:
        sys.exit(
            f"the results disagree: {(differs > 1e-5).mean():.1%} of the distances, mAP {scores}"
        )
    print(f"\nLargest difference of two distances {differs.max():.1e}.\n")
    return [
        ("implementation", "seconds", "speedup", "mAP"),
        ("dense, NumPy", f"{seconds['dense']:.1f}", "1", f"{scores['dense']:.6f}"),
        ("sparse", f"{seconds['sparse']:.1f}", f"{ratio:.1f}", f"{scores['sparse']:.6f}"),
    ]


def whole_matrix(size: Size) -> tuple[float, float]:
    """Seconds and extra GB of `rerank`, which returns (Q, G)."""
    data = draw(size)
    return _measured(lambda: rerank(data.query, data.gallery, K1, K2, LAMBDA, chunk_mb=CHUNK_MB))


def by_blocks(size: Size) -> tuple[float, float]:
    """Seconds and extra GB of the scores after re-ranking, as the program computes them."""
    data = draw(size)

    def task() -> None:
        memory = WorkingMemory(CHUNK_MB)
        source = rerank_blocks(data.query, data.gallery, Reranking(K1, K2, LAMBDA), memory)
        evaluate_blocks(source, Identities.check(*data.ids), memory)

    return _measured(task)


def _measured(task: Callable[[], object]) -> tuple[float, float]:
    few = torch.rand(300, 8)
    rerank(few[:100], few[100:])  # loads libraries
    started = time.perf_counter()
    growth = growth_gb(task)
    return time.perf_counter() - started, growth


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--large", action="store_true", help="also a gallery like MSMT17's")
    parser.add_argument("--repeats", type=int, default=1, help="runs of each implementation")
    arguments = parser.parse_args()
    print(f"{describe_machine()}, {load()}")
    print(f"\n**{MARKET}, k1 = {K1}, k2 = {K2}**")
    print_table(*compare(draw(MARKET), arguments.repeats))
    rows = [("queries x gallery x width", "result", "seconds", "extra GB", "estimated GB")]
    for size in (MARKET, MSMT) if arguments.large else (MARKET,):
        for result, task in (("(Q, G) distances", whole_matrix), ("scores", by_blocks)):
            if size is MSMT and task is whole_matrix:
                continue
            whole = task is whole_matrix
            estimate = rerank_memory(
                size.num_query, size.num_gallery, size.dim, K1, K2, whole=whole
            )
            seconds, growth = in_new_process(task, size)
            cells = (f"{seconds:.1f}", f"{growth:.2f}", f"{estimate / 1e9:.2f}")
            rows.append((str(size), result, *cells))
    print("\nMemory in addition to the features, in a separate process:\n")
    print_table(*rows)


if __name__ == "__main__":
    main()

"""Evaluation in blocks against NumPy and the product alone: python benchmarks/evaluation.py.

NumPy's implementation is the usual one: distance matrix, full argsort, a loop over the queries. The
product alone multiplies queries and gallery in blocks into preallocated memory, with NumPy and with
PyTorch. All run in one process, in turns; memory is measured in separate processes. `--large` adds
a gallery of the size of MSMT17's, for which NumPy's matrix and argsort do not fit into memory.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

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
from torch import Tensor, nn

from datasets.records import Batch, DataSplits, Sample
from processor.evaluation import evaluate_features
from processor.evaluation.evaluator import Evaluator
from processor.evaluation.protocol import Protocol
from processor.evaluation.target import Target
from processor.metrics.working_memory import WorkingMemory
from processor.runtime.precision import Precision

MARKET = Size(3_368, 15_913, 1_280, 751, spread=3.0)
MSMT = Size(11_659, 82_161, 1_280, 3_060, spread=3.0)
ROWS = 1024  # of a block of the product alone
CHUNK_MB = 512  # TEST.CHUNK_MB
BATCH = 128


def numpy_evaluation(
    query: np.ndarray, gallery: np.ndarray, *ids: np.ndarray
) -> tuple[float, np.ndarray]:
    """MAP and CMC (50,) of (Q, D) and (G, D) float32."""
    query_pids, gallery_pids, query_camids, gallery_camids = ids
    squares = np.square(query).sum(axis=1)[:, None] + np.square(gallery).sum(axis=1)
    order = np.argsort(squares - 2 * query @ gallery.T, axis=1)
    curves, precisions = [], []
    for i in range(len(query)):
        same_pid = gallery_pids[order[i]] == query_pids[i]
        junk = same_pid & (gallery_camids[order[i]] == query_camids[i])
        hits = same_pid[~junk]
        if hits.any():
            found = hits.cumsum()
            curves.append(np.minimum(found[:50], 1))
            precisions.append((found / np.arange(1, len(hits) + 1))[hits].mean())
    return float(np.mean(precisions)), np.mean(curves, axis=0)


def products(data: Retrieval) -> dict[str, Callable[[], None]]:
    """The product of queries and gallery, by library."""
    query, gallery = data.query, data.gallery
    out = torch.zeros(ROWS, len(gallery))

    def by_numpy() -> None:
        for part in query.split(ROWS):
            np.matmul(part.numpy(), gallery.numpy().T, out=out[: len(part)].numpy())

    def by_torch() -> None:
        for part in query.split(ROWS):
            torch.mm(part, gallery.T, out=out[: len(part)])

    return {"product alone, NumPy": by_numpy, "product alone, PyTorch": by_torch}


def compare(size: Size, repeats: int, *, with_numpy: bool) -> list[tuple[str, ...]]:
    """Rows of the table; exits if the results differ."""
    data = draw(size)
    ours: Callable[[], Any] = partial(
        evaluate_features, data.query, data.gallery, *data.ids, chunk_mb=CHUNK_MB
    )
    theirs: Callable[[], Any] = partial(
        numpy_evaluation, data.query.numpy(), data.gallery.numpy(), *data.ids
    )
    ways = {"evaluation in blocks": ours, **products(data)}
    if with_numpy:
        ways["matrix, argsort, loop, NumPy"] = theirs
        scores, (mean_precision, cmc) = ours(), theirs()
        gap = max(abs(scores.mAP - mean_precision), float(np.abs(scores.cmc - cmc).max()))
        print(f"\nmAP {scores.mAP:.7f}; largest difference of mAP and CMC {gap:.1e}.\n")
        if gap > 1e-6:
            sys.exit("the results disagree")
    else:
        ours()  # loads libraries
    seconds = timed(ways, repeats)
    product = min(seconds[name] for name in ways if name.startswith("product"))
    rows = [("implementation", "seconds", "relative to the faster product", "speedup of blocks")]
    own = seconds["evaluation in blocks"]
    for name, value in seconds.items():
        rows.append((name, f"{value:.2f}", f"{value / product:.2f}", f"{value / own:.2f}"))
    return rows


class ReadyFeatures(nn.Module):
    """A model whose images are their features."""

    def embed(self, images: Tensor, camids: Tensor, viewids: Tensor) -> Tensor:  # noqa: ARG002
        """(B, D) as they are."""
        return images


class DrawnBatches:
    """A loader of random features, as many as `dataset` has samples."""

    def __init__(self, dataset: Sequence[Sample], dim: int) -> None:
        self.dataset, self.dim = dataset, dim

    def __iter__(self) -> Iterator[Batch]:
        generator = torch.Generator().manual_seed(0)
        for indices in torch.arange(len(self.dataset)).split(BATCH):
            features = torch.randn(len(indices), self.dim, generator=generator)
            yield Batch(features, indices, indices, indices, indices)


def function_growth(size: Size) -> float:
    """Extra GB of `evaluate_features`."""
    data = draw(size)
    _warm_up()
    return growth_gb(
        lambda: evaluate_features(data.query, data.gallery, *data.ids, chunk_mb=CHUNK_MB)
    )


def program_growth(size: Size) -> float:
    """Extra GB of an `Evaluator`, from batches to scores, above one copy of the features."""
    pids = torch.randint(size.num_pids, (size.num_query + size.num_gallery,)).tolist()
    samples = [Sample(str(i), pid, i % 6, 0) for i, pid in enumerate(pids)]
    splits = DataSplits("drawn", [], samples[: size.num_query], samples[size.num_query :])
    evaluator = Evaluator(
        [Target("drawn", [splits])],
        Protocol(memory=WorkingMemory(CHUNK_MB)),
        lambda chosen: DrawnBatches(chosen, size.dim),  # type: ignore[arg-type, return-value]
        Precision(None, torch.device("cpu")),
    )
    _warm_up()
    features = 4e-9 * len(samples) * size.dim
    return growth_gb(lambda: evaluator(ReadyFeatures())) - features  # type: ignore[arg-type]


def _warm_up() -> None:
    few = torch.rand(100, 8)
    evaluate_features(few[:10], few[10:], [0] * 10, [0] * 90, [0] * 10, [1] * 90)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--large", action="store_true", help="also a gallery like MSMT17's")
    parser.add_argument("--repeats", type=int, default=7, help="runs of each implementation")
    arguments = parser.parse_args()
    print(f"{describe_machine()}, {load()}")
    sizes = {MARKET: arguments.repeats}
    if arguments.large:
        sizes[MSMT] = min(3, arguments.repeats)
    for size, repeats in sizes.items():
        print(f"\n**{size}**, medians of {repeats}")
        print_table(*compare(size, repeats, with_numpy=size is MARKET))
    rows: list[tuple[str, ...]] = [
        ("queries x gallery x width", "features GB", "function, extra GB", "program, extra GB")
    ]
    for size in sizes:
        features = 4e-9 * (size.num_query + size.num_gallery) * size.dim
        growths = [in_new_process(task, size) for task in (function_growth, program_growth)]
        rows.append((str(size), f"{features:.2f}", *(f"{growth:.2f}" for growth in growths)))
    print("\nMemory in addition to one copy of the features, in a separate process:\n")
    print_table(*rows)


if __name__ == "__main__":
    main()

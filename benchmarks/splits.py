"""Time to score ten splits of one target from its features: python benchmarks/splits.py.

The target has VIPeR's size and ten frozen splits of 316 queries and 316 gallery images, from 632
pairs of images with random features. Every split is also scored alone, from the features of its own
images; the program fails if the two results differ.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from datasets.readers import viper
from datasets.records import DataSplits, Sample
from processor.evaluation.evaluator import Evaluator
from processor.evaluation.protocol import Protocol
from processor.evaluation.target import Target
from processor.features import FeatureTable
from processor.metrics.normalize import normalize_features
from processor.metrics.ranking import RetrievalMetrics, evaluate_features
from processor.runtime.precision import Precision

NUM_PAIRS, WIDTH = 632, 1280


def draw_target(width: int) -> tuple[Target, list[Sample], FeatureTable]:
    """The ten splits, the images of both cameras, and features that separate the pairs a little."""
    views = [
        [Sample(f"{camid}/{pid}.bmp", pid, camid) for pid in range(NUM_PAIRS)] for camid in range(2)
    ]
    splits = []
    for tested in viper.FROZEN.load():
        query, gallery = ([view[pid] for pid in tested] for view in views)
        splits.append(DataSplits("pairs", [], query, gallery))
    generator = torch.Generator().manual_seed(0)
    people = torch.randn(NUM_PAIRS, width, generator=generator).repeat(2, 1)
    features = people + 4 * torch.randn(2 * NUM_PAIRS, width, generator=generator)
    table = FeatureTable(features, torch.arange(2 * NUM_PAIRS))
    return Target("pairs", splits), [*views[0], *views[1]], table


def evaluate_alone(split: DataSplits, features: Tensor) -> RetrievalMetrics:
    """Score one split from the features of its own images."""
    sides = []
    for part in (split.query, split.gallery):
        rows = torch.tensor([sample.camid * NUM_PAIRS + sample.pid for sample in part])
        ids = torch.tensor([[sample.pid, sample.camid] for sample in part])
        sides.append((normalize_features(features[rows]), *ids.T))
    (query, *query_ids), (gallery, *gallery_ids) = sides
    ids = [ids for pair in zip(query_ids, gallery_ids, strict=True) for ids in pair]
    return evaluate_features(query, gallery, *ids)


def differences(together: list[RetrievalMetrics], alone: list[RetrievalMetrics]) -> int:
    """Number of splits whose scores are not exactly equal."""
    return sum(
        (one.mAP, one.mINP, one.num_valid_queries, one.cmc.tolist())
        != (other.mAP, other.mINP, other.num_valid_queries, other.cmc.tolist())
        for one, other in zip(together, alone, strict=True)
    )


def main() -> None:
    """Print scores and seconds; exit with status 1 if the splits alone have other scores."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=11, help="measurements; the median counts")
    parser.add_argument("--width", type=int, default=WIDTH, help="of the features")
    arguments = parser.parse_args()
    target, samples, table = draw_target(arguments.width)
    evaluator = Evaluator([target], Protocol(), list, Precision(None, torch.device("cpu")))
    seconds = []
    for _ in range(arguments.repeats):
        started = time.perf_counter()
        result = evaluator.score(target, samples, table)
        seconds.append(time.perf_counter() - started)
    scores, deviations = result.scores(), result.deviations()
    print(f"mAP {scores['mAP']:.1%} ± {100 * deviations['mAP']:.1f} of {len(target.splits)} splits")
    differing = differences(
        result.splits, [evaluate_alone(split, table.features) for split in target.splits]
    )
    print(f"{differing} of them differ from separate evaluations")
    print(
        f"{statistics.median(seconds):.3f} seconds (median of {arguments.repeats}, "
        f"slowest {max(seconds):.3f}), features of {arguments.width} numbers, "
        f"{torch.get_num_threads()} threads"
    )
    sys.exit(1 if differing else 0)


if __name__ == "__main__":
    main()

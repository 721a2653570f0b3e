"""Find a same/different threshold: the largest distance of two images of one identity."""

from __future__ import annotations

import argparse
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np

from datasets.checks.outputs import refuse_inside_data
from processor.checkpoints.description import describe_features
from processor.evaluation.build import open_evaluation
from processor.evaluation.protocol import Protocol
from processor.evaluation.target import Retrieval
from processor.metrics.open_set import (
    FEWEST_IDENTITIES,
    OpenSet,
    identify_open_set,
    nearest_by_identity,
)
from processor.metrics.verification import FALSE_ACCEPT_RATES, Verification, verify
from processor.pictures.figure import save_figure
from processor.pictures.verification import draw_verification
from processor.results.report import describe_twins
from processor.results.threshold import (
    Recommendation,
    explain_no_threshold,
    open_set_record,
    recommend,
    threshold_record,
    to_euclidean,
)
from processor.runtime import distributed
from processor.runtime.files import write_json
from processor.tools.command_line import place_folder

logger = logging.getLogger(__name__)

IN_FLOAT32 = ("TEST.AMP", "off")  # like `run.py compare`
BY_DISTANCE = ("TEST.RE_RANKING", "False", "TEST.MULTI_QUERY", "False")


def run(arguments: argparse.Namespace) -> None:
    """Write `NAME.json` and `NAME.png` for every data set.

    Images are compared as in `run.py compare`: by L2-normalized features, without re-ranking, and
    with cameras unknown to the model. The pairs are all query and gallery images of the test split,
    without junk.

    Raises:
        ConfigError, FileNotFoundError, ValueError: see `open_evaluation` and `verify`; or no
            threshold of a data set is usable, which its file records as well.
    """
    if not 0 < arguments.far < 1:
        raise ValueError(f"--far: expected above 0 and below 1, got {arguments.far}")
    output = place_folder(arguments.output, arguments.checkpoint, "thresholds")
    opts = [*IN_FLOAT32, *arguments.opts, *BY_DISTANCE]
    opened = open_evaluation(arguments.checkpoint, opts, arguments.data)
    protocol = replace(opened.evaluator.protocol, normalize=True)
    evaluator = replace(opened.evaluator, protocol=protocol)
    data = opened.loaded.cfg.DATASETS
    refuse_inside_data(output, "--output", data.TARGETS or data.NAMES, data.ROOT_DIR)
    unusable = []
    for target in evaluator.targets:
        retrieval = evaluator.retrieval(opened.model, replace(target, cameras=None))
        if not distributed.is_first():
            continue
        twins = retrieval.count_twins()
        notes = [describe_twins(twins, len(retrieval.query))] if twins else []
        for note in notes:
            logger.warning("%s: %s", target.name, note)
        found = verify_pairs(retrieval, protocol, arguments.far)
        open_set = measure_open_set(retrieval, protocol)
        record = {
            **threshold_record(found, arguments.far),
            "open_set": open_set_record(open_set),
            "data": target.name,
            "notes": notes,
            "data_fingerprint": target.fingerprint,
            "checkpoint": arguments.checkpoint,
            "model": describe_features(opened.loaded),
        }
        path = output / f"{target.name}.json"
        write_json(path, record)
        recommended = recommend(found, arguments.far)
        title = f"{target.name}: same identity or not, by {Path(arguments.checkpoint).name}"
        figure = draw_verification(found, recommended, title, open_set)
        save_figure(figure, path.with_suffix(".png"))
        for line in [*describe(found, recommended), *describe_open_set(open_set)]:
            logger.info("%s: %s", target.name, line)
        logger.info("written: %s and its plot", path)
        if recommended is None:
            unusable.append(f"{target.name}: {explain_no_threshold(found)}")
    if unusable:
        raise ValueError(f"no threshold recommended; {'; '.join(unusable)}")


def verify_pairs(retrieval: Retrieval, protocol: Protocol, far: float) -> Verification:
    """Error rates over all pairs of a split; raises ValueError as `verify`."""
    return verify(
        protocol.distances(retrieval.query_features, retrieval.gallery_features),
        retrieval.identities(),
        protocol.memory,
        rates=sorted({*FALSE_ACCEPT_RATES, far}, reverse=True),
    )


def measure_open_set(retrieval: Retrieval, protocol: Protocol) -> OpenSet | None:
    """Open-set identification rates of a split, by Euclidean distances."""
    distances = protocol.distances(retrieval.query_features, retrieval.gallery_features)
    nearest = nearest_by_identity(distances, retrieval.identities(), protocol.memory)
    roots = np.sqrt(np.maximum(nearest.distances, 0))
    return identify_open_set(replace(nearest, distances=roots))


def describe_open_set(found: OpenSet | None) -> list[str]:
    """Log lines of an open-set identification."""
    if found is None:
        return [f"no open-set rates: they take {FEWEST_IDENTITIES} identities with a match"]
    lines = ["open set: half of the identities are unknown; thresholds chosen on others"]
    for rate, point in found.at_far.items():
        remark = "" if found.measures(rate) else " (too few unknown queries to measure it)"
        lines.append(
            f"identified {point.identification_rate:.1%} ± {100 * point.deviation:.1f} at FAR "
            f"{rate:g} (measured {point.false_accept_rate:.2%}), distance {point.threshold:.4f}"
            f"{remark}"
        )
    return lines


def describe(found: Verification, recommended: Recommendation | None) -> list[str]:
    """Log lines of the results."""
    equal = to_euclidean(found.equal_error)
    lines = [
        f"{found.num_genuine:,} genuine pairs, {found.num_impostor:,} impostor pairs",
        f"equal error rate {found.eer:.2%}, distance {equal.threshold:.4f}",
    ]
    for rate, point in found.at_far.items():
        remark = "" if found.measures(rate) else " (too few impostor pairs to measure it)"
        distance = to_euclidean(point).threshold
        lines.append(f"TAR {point.tar:.2%} at FAR {rate:g}, distance {distance:.4f}{remark}")
    if recommended is not None:
        threshold = recommended.point.threshold
        lines.append(f"recommended threshold {threshold:.4f}: {recommended.criterion}")
    return lines

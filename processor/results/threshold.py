"""A distance threshold on disk, with what it was found on and by which model."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from processor.metrics.verification import FEWEST_ERRORS, OperatingPoint, Verification

FORMAT = "clipreid-threshold/1"
DISTANCE = "Euclidean distance of L2-normalized features, cameras unknown to the model"


@dataclass(frozen=True, slots=True)
class Threshold:
    """Up to which distance two pictures are taken to show one identity.

    Attributes:
        value: the largest Euclidean distance of features of length 1 that is accepted.
        origin: where it comes from, for people.
    """

    value: float
    origin: str


@dataclass(frozen=True, slots=True)
class Recommendation:
    """A threshold and why this one."""

    point: OperatingPoint
    criterion: str


def to_euclidean(point: OperatingPoint) -> OperatingPoint:
    """The same point, found on squared distances, by its root; below zero stays so."""
    threshold = math.copysign(math.sqrt(abs(point.threshold)), point.threshold)
    return replace(point, threshold=threshold)


def recommend(found: Verification, rate: float) -> Recommendation:
    """The threshold of a false accept rate or, if pairs are too few to measure it, of equal errors.

    Args:
        found: on squared distances; the rate is among those it was asked for.
        rate: false accept rate that is wanted.
    """
    if found.measures(rate):
        return Recommendation(to_euclidean(found.at_far[rate]), f"false accept rate {rate:g}")
    needed = math.ceil(FEWEST_ERRORS / rate)
    return Recommendation(
        to_euclidean(found.equal_error),
        f"equal error rate, as a false accept rate of {rate:g} takes {needed:,} impostor pairs to "
        f"measure, of which there are {found.num_impostor:,}",
    )


def threshold_record(found: Verification, rate: float) -> dict[str, Any]:
    """The numbers of a threshold file.

    Args:
        found: on squared distances.
        rate: false accept rate of the recommended threshold.
    """
    recommended = recommend(found, rate)
    return {
        "format": FORMAT,
        "recommended": {**asdict(recommended.point), "criterion": recommended.criterion},
        "distance": DISTANCE,
        "genuine_pairs": found.num_genuine,
        "impostor_pairs": found.num_impostor,
        "eer": {"value": found.eer, **asdict(to_euclidean(found.equal_error))},
        "tar_at_far": {
            f"{rate:g}": {**asdict(to_euclidean(point)), "measured": found.measures(rate)}
            for rate, point in found.at_far.items()
        },
    }


def read_threshold(given: str, model: dict[str, str]) -> Threshold:
    """A number, or the recommended threshold of a file that `run.py threshold` wrote.

    Args:
        given: the number or the file.
        model: what the features depend on that it is used for; see `describe_features`.

    Raises:
        FileNotFoundError: neither a number nor a file.
        ValueError: no distance, no threshold file, or one for features of another model.
    """
    try:
        value = float(given)
    except ValueError:
        return _read_file(Path(given), model)
    if not 0 <= value < math.inf:
        raise ValueError(f"--threshold: expected a distance, 0 or more, got {given}")
    return Threshold(value, "as given")


def _read_file(path: Path, model: dict[str, str]) -> Threshold:
    if not path.is_file():
        raise FileNotFoundError(f"--threshold: {path} is neither a number nor a file")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"--threshold: {path} is no JSON file ({error})") from error
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise ValueError(f"--threshold: {path} was not made by run.py threshold")
    differing = [key for key, value in model.items() if record["model"].get(key) != value]
    if differing:
        raise ValueError(
            f"--threshold: {path} was made by {record['checkpoint']}, whose features are not those "
            f"of this model: other {', '.join(differing)}; make one with run.py threshold"
        )
    recommended = record["recommended"]
    origin = f"{path}: {recommended['criterion']} on {record['data']}"
    return Threshold(recommended["threshold"], origin)

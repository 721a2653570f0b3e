"""Same/different thresholds: which one to recommend, and its file."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import NoneType
from typing import Any

from processor.metrics.normalize import LARGEST_DISTANCE
from processor.metrics.open_set import OpenSet
from processor.metrics.pair_counts import OperatingPoint
from processor.metrics.verification import FEWEST_ERRORS, Verification
from processor.runtime.stored import check_fields

FORMAT = "clipreid-threshold/1"
DISTANCE = "Euclidean distance of L2-normalized features, cameras unknown to the model"
MAX_EER = 0.4  # of a usable threshold; guessing has 0.5


@dataclass(frozen=True, slots=True)
class GivenThreshold:
    """Two images show the same identity if their distance does not exceed it.

    Attributes:
        value: the largest accepted Euclidean distance of features of length 1.
        origin: of the value, in words.
    """

    value: float
    origin: str


@dataclass(frozen=True, slots=True)
class Recommendation:
    """A threshold and the criterion by which it was chosen."""

    point: OperatingPoint
    criterion: str


def to_euclidean(point: OperatingPoint) -> OperatingPoint:
    """Convert a point of squared distances; a negative threshold stays negative."""
    threshold = math.copysign(math.sqrt(abs(point.threshold)), point.threshold)
    return replace(point, threshold=threshold)


def recommend(found: Verification, rate: float) -> Recommendation | None:
    """Choose the threshold of a false accept rate, or None if no threshold is usable.

    With too few pairs to measure the rate, it is the threshold of equal errors. With an equal error
    rate above MAX_EER, near the 50 % of guessing, the distances do not separate identities.

    Args:
        found: on squared distances, for this rate among others.
        rate: requested false accept rate.
    """
    if found.eer > MAX_EER:
        return None
    point = found.at_far[rate] if found.measures(rate) else found.equal_error
    if point.threshold < 0:  # below every distance: equal images would be different
        return None
    if found.measures(rate):
        return Recommendation(to_euclidean(point), f"false accept rate {rate:g}")
    needed = math.ceil(FEWEST_ERRORS / rate)
    return Recommendation(
        to_euclidean(point),
        f"equal error rate, as measuring a false accept rate of {rate:g} takes {needed:,} impostor "
        f"pairs and there are {found.num_impostor:,}",
    )


def explain_no_threshold(found: Verification) -> str:
    """Why `recommend` returned None."""
    if found.eer <= MAX_EER:
        return (
            "the distances do not separate identities at this rate: images of different identities "
            "are at distance 0"
        )
    return (
        f"the distances do not separate identities: the equal error rate is {found.eer:.1%}, and "
        "guessing has 50%"
    )


def threshold_record(found: Verification, rate: float) -> dict[str, Any]:
    """The numbers of a threshold file; "recommended" is null if no threshold is usable.

    Args:
        found: on squared distances.
        rate: false accept rate of the recommended threshold.
    """
    chosen = recommend(found, rate)
    recommended = {**asdict(chosen.point), "criterion": chosen.criterion} if chosen else None
    return {
        "format": FORMAT,
        "recommended": recommended,
        "distance": DISTANCE,
        "genuine_pairs": found.num_genuine,
        "impostor_pairs": found.num_impostor,
        "eer": {"value": found.eer, **asdict(to_euclidean(found.equal_error))},
        "tar_at_far": {
            f"{rate:g}": {**asdict(to_euclidean(point)), "measured": found.measures(rate)}
            for rate, point in found.at_far.items()
        },
    }


def open_set_record(found: OpenSet | None) -> dict[str, Any] | None:
    """The entry "open_set" of a threshold file; None with too few identities."""
    if found is None:
        return None
    return {
        "identities": found.num_identities,
        "unknown_queries": found.num_unknown,
        "at_far": {
            f"{rate:g}": {**asdict(point), "measured": found.measures(rate)}
            for rate, point in found.at_far.items()
        },
    }


def read_threshold(given: str, model: dict[str, str]) -> GivenThreshold:
    """Parse a number, or read the recommended threshold of a file of `run.py threshold`.

    Args:
        given: the number or the file.
        model: description of the features to be compared; see `describe_features`.

    Raises:
        FileNotFoundError: neither a number nor a file.
        ValueError: not a distance, not a threshold file, a file for features of another model, or
            one that recommends no threshold.
    """
    try:
        value = float(given)
    except ValueError:
        return _read_file(Path(given), model)
    if not 0 <= value <= LARGEST_DISTANCE:  # NaN fails too
        raise ValueError(
            f"--threshold: expected a distance between features of length 1, 0 to "
            f"{LARGEST_DISTANCE}, got {given}"
        )
    return GivenThreshold(value, "as given")


def _read_file(path: Path, model: dict[str, str]) -> GivenThreshold:
    if not path.is_file():
        raise FileNotFoundError(f"--threshold: {path} is neither a number nor a file")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"--threshold: {path} is not a JSON file ({error})") from error
    except RecursionError as error:
        raise ValueError(f"--threshold: {path} is damaged: nested too deeply") from error
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise ValueError(f"--threshold: {path} was not written by run.py threshold")
    _check_fields(path, record)
    keys = dict.fromkeys([*model, *record["model"]])
    differing = [key for key in keys if record["model"].get(key) != model.get(key)]
    if differing:
        raise ValueError(
            f"--threshold: {path} belongs to {record['checkpoint']}, whose features are not those "
            f"of this model: {', '.join(differing)} differ; run run.py threshold with this model"
        )
    recommended = record["recommended"]
    if recommended is None:
        eer = record["eer"]["value"]
        raise ValueError(
            f"--threshold: {path} recommends no threshold, as the distances of this model do not "
            f"separate the identities of {record['data']} (equal error rate {eer:.1%})"
        )
    value = recommended["threshold"]
    if not 0 <= value <= LARGEST_DISTANCE:  # NaN fails too
        raise ValueError(
            f"--threshold: {path} holds the threshold {value}, and distances are 0 to "
            f"{LARGEST_DISTANCE}: cannot tell identities apart, as the distances do not separate "
            "them or the file is damaged; run run.py threshold again"
        )
    origin = f"{path}: {recommended['criterion']} on {record['data']}"
    return GivenThreshold(recommended["threshold"], origin)


def _check_fields(path: Path, record: dict[str, Any]) -> None:
    """Raise ValueError, with file and field, unless the fields that are used have their types."""
    source = f"--threshold: {path}"
    kinds = {"model": dict, "checkpoint": str, "data": str, "eer": dict}
    check_fields(source, record, {**kinds, "recommended": (dict, NoneType)})
    check_fields(source, record["eer"], {"value": (int, float)})
    if record["recommended"] is not None:
        check_fields(source, record["recommended"], {"threshold": (int, float), "criterion": str})

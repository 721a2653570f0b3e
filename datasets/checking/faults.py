"""What is wrong with a data set, as records."""

from __future__ import annotations

from dataclasses import dataclass

from datasets.records import Sample

ERROR = "error"
WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Fault:
    """A finding.

    Attributes:
        severity: ERROR = a run stops on it or is worthless; WARNING = its results suffer.
        kind: a few fixed words.
        data: name of the data set.
        what: the finding with its numbers, one clause.
        where: all files or identities it is about.
        remedy: what to do.
    """

    severity: str
    kind: str
    data: str
    what: str
    where: tuple[str, ...]
    remedy: str


def name_identity(sample: Sample) -> str:
    """An identity in words: its number and one of its images."""
    return f"identity {sample.pid} ({sample.path})"


def name_image(sample: Sample) -> str:
    """An image in words."""
    return f"{sample.path} (identity {sample.pid}, camera {sample.camid})"

"""What has changed in a training set since a run began."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import torch
from torch import Tensor

from datasets.records import Sample
from datasets.sources import TrainingSet

_MIDDLE = 1024  # bytes of a file that are compared, besides its size


@dataclass(frozen=True, slots=True)
class Changes:
    """Numbers of images that differ between two states of a training set.

    Attributes:
        gone: no longer there.
        new: not there before.
        changed: of another identity, camera or content.
        total: before.
    """

    gone: int
    new: int
    changed: int
    total: int

    def __bool__(self) -> bool:
        return bool(self.gone or self.new or self.changed)

    def __str__(self) -> str:
        return (
            f"of {self.total:,} images {self.gone:,} are gone and {self.changed:,} have another "
            f"identity, camera or content; {self.new:,} are new"
        )


def describe_images(data: TrainingSet) -> Tensor:
    """(N, 2) int64: per image, a hash of its place and one of its identity, camera and content.

    The place is the source with the last two parts of the path, so that a data root may move. Of
    the content, size and 1 KB in the middle count.
    """
    rows = {}
    for sample, domain in zip(data.samples, data.domains, strict=True):
        place = f"{data.names[domain]}/{'/'.join(Path(sample.path).parts[-2:])}"
        rows[_hash(place.encode(errors="surrogateescape"))] = _hash(_describe(sample))
    return torch.tensor(sorted(rows.items()), dtype=torch.long).view(-1, 2)


def compare_images(before: Tensor, now: Tensor) -> Changes:
    """The changes between two results of `describe_images`."""
    old, new = (dict(rows.tolist()) for rows in (before, now))
    changed = sum(old[place] != new[place] for place in old.keys() & new.keys())
    return Changes(len(old.keys() - new.keys()), len(new.keys() - old.keys()), changed, len(old))


def _describe(sample: Sample) -> bytes:
    names = f"{sample.identity}\n{sample.camera}\n{sample.viewid}\n".encode(
        errors="surrogateescape"
    )
    try:
        size = Path(sample.path).stat().st_size
        with Path(sample.path).open("rb") as file:
            file.seek(max(size - _MIDDLE, 0) // 2)
            return names + f"{size}\n".encode() + file.read(_MIDDLE)
    except OSError:  # a missing file is an error of the run or left out, as the options say
        return names


def _hash(content: bytes) -> int:
    return int.from_bytes(sha256(content).digest()[:8], "little", signed=True)

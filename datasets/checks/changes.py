"""What has changed in a training set since a run began."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import torch
from torch import Tensor

from config.text import encode
from datasets.checks.equal_files import FileMemory
from datasets.sources import TrainingSet


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

    The place is the source with the last two parts of the path, so that a data root may move; of
    equal places, the second is another one. Of the content, size and 4 KB in the middle count.
    """
    images = sorted(zip(data.samples, data.domains, strict=True), key=lambda pair: pair[0].path)
    paths = [sample.path for sample, _ in images]
    memory = FileMemory()
    contents = zip(memory.sizes(paths), memory.middles(paths), strict=True)
    seen = Counter[str]()
    rows = []
    for (sample, domain), content in zip(images, contents, strict=True):
        place = f"{data.names[domain]}/{'/'.join(Path(sample.path).parts[-2:])}"
        seen[place] += 1
        facts = (sample.identity, sample.camera, sample.viewid, *content)
        rows.append((_hash(f"{place}\n{seen[place]}"), _hash("\n".join(map(str, facts)))))
    return torch.tensor(sorted(rows), dtype=torch.long).view(-1, 2)


def compare_images(before: Tensor, now: Tensor) -> Changes:
    """The changes between two results of `describe_images`."""
    old, new = (dict(rows.tolist()) for rows in (before, now))
    changed = sum(old[place] != new[place] for place in old.keys() & new.keys())
    return Changes(len(old.keys() - new.keys()), len(new.keys() - old.keys()), changed, len(old))


def _hash(text: str) -> int:
    return int.from_bytes(sha256(encode(text)).digest()[:8], "little", signed=True)

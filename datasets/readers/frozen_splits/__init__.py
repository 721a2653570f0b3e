"""Frozen random splits for benchmarks that average over ten random halvings of their identities.

If every project draws its own splits, results differ by the draw alone. These ship with the
program as lists of identities, and are the same on every machine.
`python -m datasets.readers.frozen_splits` checks the files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

FOLDER = Path(__file__).parent

NUM_SPLITS = 10


@dataclass(frozen=True, slots=True)
class FrozenSplits:
    """The splits of one data set.

    Attributes:
        name: registry name.
        identities: the identities to divide, as numbered in the split file.
        num_test: test identities of a split; all others are for training.
        sha256: hash of the split file; no other file is accepted.
    """

    name: str
    identities: range
    num_test: int
    sha256: str

    @property
    def file(self) -> Path:
        """The split file."""
        return FOLDER / f"{self.name}.json"

    @property
    def note(self) -> str:
        """The note that identifies the splits in results; equal for all of them."""
        return f"{NUM_SPLITS} frozen splits (sha256 {self.sha256[:16]})"

    def draw(self) -> list[list[int]]:
        """The ascending test identities of every split; equal on every machine and Python."""
        splits = []
        for split in range(NUM_SPLITS):
            rng = Random(f"{self.name} split {split}")
            keys = {identity: rng.random() for identity in self.identities}
            drawn = sorted(self.identities, key=keys.__getitem__)[: self.num_test]
            splits.append(sorted(drawn))
        return splits

    def load(self) -> list[list[int]]:
        """The ascending test identities of every split, from the split file.

        Raises:
            ValueError: the file has been changed.
        """
        content = self.file.read_bytes()
        found = sha256(content)
        if found != self.sha256:
            raise ValueError(
                f"{self.file} has been changed: its SHA-256 is {found}, not {self.sha256}. Results "
                f"on other splits of {self.name} are not comparable; "
                "'python -m datasets.readers.frozen_splits --write' restores the file."
            )
        splits: list[list[int]] = json.loads(content)
        return splits


def format_splits(splits: Sequence[Sequence[int]]) -> bytes:
    """The content of a split file: one line per split."""
    return ("[\n" + ",\n".join(json.dumps(split) for split in splits) + "\n]\n").encode()


def sha256(content: bytes) -> str:
    """Hash of a split file, independent of its line endings."""
    return hashlib.sha256(content.replace(b"\r\n", b"\n")).hexdigest()

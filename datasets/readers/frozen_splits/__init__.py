"""The frozen random splits of VIPeR, PRID2011 and i-LIDS: which identities are tested.

These benchmarks average over ten random halvings of the identities. Where every project draws its
own, results differ by the draw alone; these ship with the program, as identities and never as
paths, and are the same on every machine. `python -m datasets.readers.frozen_splits` checks
the files.
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
        identities: what is divided, as the split file numbers it.
        num_test: identities on the test side of a split; all others train.
        sha256: of the split file; no other file passes for these splits.
    """

    identities: range
    num_test: int
    sha256: str


FROZEN: dict[str, FrozenSplits] = {
    # Positions among the sorted files of a camera, from 0.
    "viper": FrozenSplits(
        range(632), 316, "ede75d7d9c17fe3aa2bf7cce68e77c2483fae5ad7c85ed86d60a2cc3b6cbf5e5"
    ),
    # Numbers of the persons whom both cameras saw.
    "prid": FrozenSplits(
        range(1, 201), 100, "802ff48e933dcea9d5f6d1cdc3f85917ae96ca495af51b0cd2aa1bab729bf3ad"
    ),
    # Positions among the ascending identities, from 1.
    "ilids": FrozenSplits(
        range(1, 120), 60, "442fa6c9774517830ac29c4287adbd32f37f68496e1ff563787dd0203adcb5d4"
    ),
}


def draw_splits(name: str) -> list[list[int]]:
    """The ascending test identities of every split; the same on every machine and Python."""
    frozen = FROZEN[name]
    splits = []
    for split in range(NUM_SPLITS):
        rng = Random(f"{name} split {split}")
        keys = {identity: rng.random() for identity in frozen.identities}
        drawn = sorted(frozen.identities, key=keys.__getitem__)[: frozen.num_test]
        splits.append(sorted(drawn))
    return splits


def load_splits(name: str) -> list[list[int]]:
    """The ascending test identities of every split, from the file that ships with the program.

    Raises:
        ValueError: the file was changed.
    """
    path = split_file(name)
    content = path.read_bytes()
    found, expected = sha256(content), FROZEN[name].sha256
    if found != expected:
        raise ValueError(
            f"{path} was changed: its SHA-256 is {found}, that of the frozen splits of {name} is "
            f"{expected}. Results on other splits do not compare; "
            "'python -m datasets.readers.frozen_splits --write' restores the file."
        )
    splits: list[list[int]] = json.loads(content)
    return splits


def describe_splits(name: str) -> str:
    """The note that names the splits in the results; the same for each of them."""
    return f"{NUM_SPLITS} frozen splits (sha256 {FROZEN[name].sha256[:16]})"


def split_file(name: str) -> Path:
    """Where the splits of a data set lie."""
    return FOLDER / f"{name}.json"


def format_splits(splits: Sequence[Sequence[int]]) -> bytes:
    """The content of a split file: one line per split."""
    return ("[\n" + ",\n".join(json.dumps(split) for split in splits) + "\n]\n").encode()


def sha256(content: bytes) -> str:
    """Hash of a split file; the line ends of the checkout have no influence."""
    return hashlib.sha256(content.replace(b"\r\n", b"\n")).hexdigest()

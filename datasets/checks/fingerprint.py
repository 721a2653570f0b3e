"""A hash that identifies the images of a data set, and the description that a run records."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from config.text import encode
from datasets.records import DataSplits, Sample

TRAINING = ("train",)
TEST = ("query", "gallery")
ALL = TRAINING + TEST


def fingerprint(splits: Sequence[DataSplits], parts: Sequence[str]) -> str:
    """SHA-256 over some parts of a data set.

    It covers split, part, last two path components, pid, camid and file size of every image, so
    that it does not depend on the data root, and differs between data sets with the same file
    names. Missing files count as empty. Results, run.json and data-check give the same value for
    the same splits and parts.

    Args:
        splits: one per split of the protocol.
        parts: `TRAINING`, `TEST` or `ALL`.
    """
    images = [
        (number, part, sample)
        for number, split in enumerate(splits)
        for part in parts
        for sample in getattr(split, part)
    ]
    sizes = {path: _size(path) for path in {sample.path for _, _, sample in images}}
    lines = [
        f"{number}\t{part}\t{'/'.join(Path(sample.path).parts[-2:])}\t{sample.pid}\t{sample.camid}"
        f"\t{sizes[sample.path]}"
        for number, part, sample in images
    ]
    return sha256(encode("\n".join(sorted(lines)))).hexdigest()


def describe_data(splits: Sequence[DataSplits], parts: Sequence[str]) -> dict[str, Any]:
    """Name, notes and counts of the first split, and the fingerprint of `parts`; JSON values."""
    first = splits[0]
    return {
        "name": first.name,
        "notes": list(first.notes),
        **{part: _count(getattr(first, part)) for part in ALL},
        "sha256": fingerprint(splits, parts),
    }


def _size(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except OSError:
        return 0


def _count(samples: Sequence[Sample]) -> dict[str, int]:
    return {
        "ids": len({sample.pid for sample in samples}),
        "images": len(samples),
        "cameras": len({sample.camid for sample in samples}),
    }

"""What identifies the data of a run: counts per split and a hash of the file list."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from datasets.records import DataSplits, Sample


def fingerprint(splits: DataSplits) -> dict[str, Any]:
    """Name, notes, ids/images/cameras per split and a SHA-256; holds only str, int, list and dict.

    The hash covers split, last two path components, pid and camid of every image, sorted; so it is
    the same wherever the data root lies. The files are not opened.
    """
    parts = {"train": splits.train, "query": splits.query, "gallery": splits.gallery}
    lines = sorted(_describe(part, sample) for part, samples in parts.items() for sample in samples)
    return {
        "name": splits.name,
        "notes": list(splits.notes),
        **{part: _count(samples) for part, samples in parts.items()},
        "sha256": sha256("\n".join(lines).encode()).hexdigest(),
    }


def fingerprint_of_targets(splits: Sequence[DataSplits]) -> str:
    """SHA-256 over the query and gallery images of all splits of a data set.

    It covers what `fingerprint` does and the sizes of the files, so that data sets with equal names
    of files differ as well. Files that are not there count as empty.
    """
    images = {sample.path for split in splits for sample in (*split.query, *split.gallery)}
    sizes = {path: _size(path) for path in images}
    lines = [
        f"{number}\t{_describe(part, sample)}\t{sizes[sample.path]}"
        for number, split in enumerate(splits)
        for part, samples in (("query", split.query), ("gallery", split.gallery))
        for sample in samples
    ]
    return sha256("\n".join(sorted(lines)).encode()).hexdigest()


def _size(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except OSError:
        return 0


def _describe(part: str, sample: Sample) -> str:
    tail = "/".join(Path(sample.path).parts[-2:])
    return f"{part}\t{tail}\t{sample.pid}\t{sample.camid}"


def _count(samples: Sequence[Sample]) -> dict[str, int]:
    return {
        "ids": len({sample.pid for sample in samples}),
        "images": len(samples),
        "cameras": len({sample.camid for sample in samples}),
    }

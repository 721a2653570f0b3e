"""Every image file of a data set read and decoded once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from tqdm import tqdm

from datasets.images import BadImageError, read_image

_FILES_PER_JOB = 32


@dataclass(frozen=True, slots=True)
class FileFacts:
    """An image file.

    Attributes:
        height: in pixels; 0 = the file cannot be decoded.
        width: likewise.
        content: SHA-256 of its bytes; empty if it cannot be decoded.
        error: why it cannot be decoded; empty if it can.
    """

    height: int
    width: int
    content: str
    error: str = ""


def read_files(paths: Iterable[str], num_workers: int) -> dict[str, FileFacts]:
    """Path -> what decoding the whole file tells, with a progress bar on a terminal.

    Args:
        paths: the files; each is read once.
        num_workers: threads; decoding and hashing run beside each other in them.
    """
    files = list(dict.fromkeys(paths))
    jobs = [files[i : i + _FILES_PER_JOB] for i in range(0, len(files), _FILES_PER_JOB)]
    facts: dict[str, FileFacts] = {}
    with (
        ThreadPoolExecutor(max(num_workers, 1)) as pool,
        tqdm(total=len(files), desc="decoding images", leave=False, disable=None) as bar,
    ):
        for job, found in zip(jobs, pool.map(_read_all, jobs), strict=True):
            facts.update(zip(job, found, strict=True))
            bar.update(len(job))
    return facts


def _read_all(paths: Sequence[str]) -> list[FileFacts]:
    return [read_file(path) for path in paths]


def read_file(path: str) -> FileFacts:
    """What decoding a whole file tells."""
    try:
        width, height = read_image(path).size
        return FileFacts(height, width, sha256(Path(path).read_bytes()).hexdigest())
    except BadImageError as error:
        return FileFacts(0, 0, "", str(error.__cause__).replace(f"{path!r}", "the file"))

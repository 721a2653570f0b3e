"""Shards of an extraction by many processes: a features file each, in one folder.

`NAME.shards/00003-of-00016.npy` has the sidecars of `FeatureFile`, and `.done` when it is complete:
the SHA-256 of matrix and table in the format of sha256sum.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from processor.runtime.files import file_sha256, write_text
from processor.search.feature_file import csv_of
from processor.search.feature_record import PROGRESS, Record, check_complete, check_same_record

SHARDS = ".shards"
_NAME = re.compile(r"(\d+)-of-(\d+)\.npy")
_OF_A_SHARD = (*PROGRESS, "checkpoint", "images", "images_sha256", "shard")
_MOST_NAMED = 5


@dataclass(frozen=True, slots=True)
class Shard:
    """A share of the work: `number`, counted from 0, of `count`."""

    number: int
    count: int

    def share(self, count: int) -> range:
        """This shard's contiguous share of `count` items."""
        return range(self.number * count // self.count, (self.number + 1) * count // self.count)

    def file(self, folder: Path) -> Path:
        """The shard's .npy."""
        return folder / f"{self.number:05d}-of-{self.count:05d}.npy"


def shards_folder(output: Path) -> Path:
    """Where the shards of an output file lie."""
    return output.with_suffix(SHARDS)


def mark_done(file: Path) -> None:
    """Write the done-file of a complete shard."""
    lines = [f"{file_sha256(part)}  {part.name}\n" for part in (file, csv_of(file))]
    write_text(_done_of(file), "".join(lines))


def is_done(file: Path) -> bool:
    """Whether a shard is complete."""
    return _done_of(file).is_file()


def _done_of(file: Path) -> Path:
    return file.with_suffix(".done")


def check_count(folder: Path, count: int) -> None:
    """Raise ValueError if a folder holds shards of another number of shares."""
    others = {found for _, found in _numbers(folder)} - {count}
    if others:
        raise ValueError(
            f"{folder} holds shards of {min(others)} in all, not of {count}: continue with "
            f"{min(others)}, or remove the folder"
        )


def _numbers(folder: Path) -> list[tuple[int, int]]:
    """Number and count of every shard in a folder."""
    found = (_NAME.fullmatch(file.name) for file in folder.glob("*.npy"))
    return sorted((int(match[1]), int(match[2])) for match in found if match)


def find_shards(folder: Path) -> list[Path]:
    """The files of all shards, in order.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: shards are missing or unfinished.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder of shards {folder}")
    numbers = _numbers(folder)
    if not numbers:
        raise ValueError(f"{folder} holds no shards; run.py extract --shard writes them")
    count = numbers[0][1]
    check_count(folder, count)
    files = [Shard(number, count).file(folder) for number in range(count)]
    missing = [file.stem for file in files if not (file.is_file() and is_done(file))]
    if missing:
        named = ", ".join(missing[:_MOST_NAMED]) + (", ..." if missing[_MOST_NAMED:] else "")
        raise ValueError(
            f"{folder}: {len(missing)} of {count} shards are missing or unfinished ({named}); run "
            "their extract commands again"
        )
    return files


def joined_record(files: Sequence[Path], records: Sequence[Record]) -> Record:
    """The record of all shards together, which is that of one process.

    Raises:
        ValueError: they are of different images, models or options.
    """
    first = records[0]
    common = {key: value for key, value in first.items() if key not in _OF_A_SHARD}
    for number, (file, record) in enumerate(zip(files, records, strict=True)):
        check_complete(file, record)
        check_same_record(file, record, {**common, "checkpoint": first["checkpoint"]})
        shard = record.get("shard")
        if not isinstance(shard, dict) or shard.get("number") != number:
            raise ValueError(f"{file} is not a shard of this number, but {shard}")
    digests = [record["images_sha256"] for record in records]
    if any("first" in record["shard"] for record in records):
        _check_places(files, records)
    joined = {key: value for key, value in first.items() if key != "shard"}
    for key in ("rows", "images_done", "csv_bytes", "images"):
        joined[key] = sum(record[key] for record in records)
    joined["bad_images"] = [path for record in records for path in record["bad_images"]]
    joined["images_sha256"] = join_digests(digests)
    return joined


def _check_places(files: Sequence[Path], records: Sequence[Record]) -> None:
    """Raise ValueError unless shards of one list of images follow each other from end to end."""
    before, total = 0, records[0]["shard"].get("of_images")
    for file, record in zip(files, records, strict=True):
        first, end, count = (record["shard"].get(name) for name in ("first", "end", "of_images"))
        follows = first == before and (file != files[-1] or end == total)
        if not follows or (count, record["images_sha256"]) != (total, records[0]["images_sha256"]):
            raise ValueError(
                f"{file} holds images {first} to {end} of a list of {count}, and the shards before "
                f"it the first {before} of {total}: they are of other images or batch sizes; "
                "remove the folder and extract all shards again"
            )
        before = end


def join_digests(digests: Sequence[str]) -> str:
    """The digest of all images: of their one list, or of the lists that the shards have."""
    one_list = len(set(digests)) == 1
    return digests[0] if one_list else sha256("".join(digests).encode()).hexdigest()

"""Features in files: a matrix, the image of each row, and a record of the model and the progress.

`NAME.npy` holds the matrix, its sidecars `NAME.csv` an image per row (path, numbers and names of
identity and camera) and `NAME.json` the record. `NAME.npz` holds everything in one file.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.lib import format as npy_format
from torch import Tensor

from datasets.records import UNKNOWN, Sample
from processor.runtime.files import atomic_file, write_json

Record: TypeAlias = dict[str, Any]

FORMAT = "clipreid-features/2"
NUMBERS_ONLY = "clipreid-features/1"  # without names
COLUMNS = ("path", "pid", "camid", "name", "camera")
ARRAYS = tuple(f"{column}s" for column in COLUMNS)  # of a .npz
PROGRESS = {"rows": 0, "images_done": 0, "csv_bytes": 0, "bad_images": []}
_OF_A_PROCESS = (*PROGRESS, "appending")  # entries of a record that say how far a process got
HEADER_BYTES = 128  # of a .npy with a matrix; NumPy pads it for any number of rows
ERRORS = "surrogateescape"  # file names on Linux need not be UTF-8


@dataclass(frozen=True, slots=True)
class StoredFeatures:
    """Features and their images.

    Attributes:
        features: (N, D) float32; memory-mapped (copy on write) from a .npy.
        samples: N images, with paths as given at extraction; -1 = pid or camid unknown.
        record: "model" (see `describe_features`), "checkpoint", "normalized", ...
    """

    features: np.ndarray
    samples: list[Sample]
    record: Record

    @property
    def paths(self) -> list[str]:
        """Path of every image."""
        return [sample.path for sample in self.samples]

    @property
    def names(self) -> list[str]:
        """Name of the identity of every image; empty = unknown."""
        return [sample.identity for sample in self.samples]

    @property
    def pids(self) -> np.ndarray:
        """(N,) int64 number of the identity; -1 = unknown."""
        return np.array([sample.pid for sample in self.samples], dtype=np.int64)

    @property
    def camids(self) -> np.ndarray:
        """(N,) int64 number of the camera; -1 = unknown."""
        return np.array([sample.camid for sample in self.samples], dtype=np.int64)


class FeatureFile:
    """A growing `.npy` with its two sidecars; a context manager.

    Appended rows are on disk when `append` returns. A killed process loses only the rows that it
    was appending: the next `FeatureFile` of the same path continues after the others.

    Args:
        path: of the `.npy`.
        dim: D.
        record: of the features; an existing file must have the same record.

    Raises:
        ValueError: the file exists with other features, or was not written by this class.
    """

    def __init__(self, path: Path, dim: int, record: Record) -> None:
        self.path = path
        self._dim = dim
        self._record: Record = {**PROGRESS, "bad_images": []}
        sidecars = (_csv_of(path), _json_of(path))
        if sidecars[1].is_file():
            found = read_record(path)
            check_same_record(path, found, record)
            self._record = found
        else:
            for file in (path, *sidecars):
                if file.exists():
                    raise ValueError(f"{file} exists and would be overwritten; choose another name")
            path.parent.mkdir(parents=True, exist_ok=True)
            self._record |= record
            write_json(sidecars[1], self._record)
        self._matrix = _open_at(path, HEADER_BYTES + 4 * dim * self.rows)
        self._table = _open_at(sidecars[0], self._record["csv_bytes"])

    @property
    def rows(self) -> int:
        """Number of rows so far."""
        return int(self._record["rows"])

    @property
    def images_done(self) -> int:
        """Number of images so far, including broken ones, which have no row."""
        return int(self._record["images_done"])

    @property
    def bad_images(self) -> list[str]:
        """Paths of the broken images so far."""
        return list(self._record["bad_images"])

    def expect(self, paths: Sequence[str], digest: str) -> None:
        """Announce further images; broken ones among them are tried again.

        Args:
            paths: of the images, none of which has a row.
            digest: identifies all images, those so far and these.
        """
        bad_images = [path for path in self.bad_images if path not in set(paths)]
        done = self.rows + len(bad_images)
        self._record |= {
            "bad_images": bad_images,
            "images_done": done,
            "images": done + len(paths),
            "images_sha256": digest,
            "appending": True,
        }
        write_json(_json_of(self.path), self._record)

    def finish(self) -> None:
        """Say that all announced images are done."""
        self._record.pop("appending", None)
        write_json(_json_of(self.path), self._record)

    def append(
        self, features: Tensor, samples: Sequence[Sample], bad_images: Sequence[str] = ()
    ) -> None:
        """Append (n, D) features of `samples`, and the broken images among them."""
        self._matrix.write(features.numpy().astype("<f4", copy=False).tobytes())
        rows = self.rows + len(samples)
        end = self._matrix.tell()
        header = {"descr": "<f4", "fortran_order": False, "shape": (rows, self._dim)}
        self._matrix.seek(0)
        npy_format.write_array_header_1_0(self._matrix, header)
        assert self._matrix.tell() == HEADER_BYTES
        self._matrix.seek(end)
        self._matrix.flush()
        self._table.write(_csv_lines(samples, with_header=not self._table.tell()))
        self._table.flush()
        self._record["rows"] = rows
        self._record["images_done"] += len(samples) + len(bad_images)
        self._record["csv_bytes"] = self._table.tell()
        self._record["bad_images"] += bad_images
        write_json(_json_of(self.path), self._record)  # commits the rows

    def __enter__(self) -> FeatureFile:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._matrix.close()
        self._table.close()


def read_record(path: Path) -> Record:
    """Read the record of a .npy or .npz; raises as `read_features`."""
    if not path.is_file() and not _json_of(path).is_file():
        raise FileNotFoundError(f"no features file {path}")
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as content:
            text = str(content["record"]) if "record" in content.files else "{}"
    else:
        sidecar = _json_of(path)
        text = sidecar.read_text(encoding="utf-8") if sidecar.is_file() else "{}"
    record = json.loads(text)
    if record.get("format") not in (FORMAT, NUMBERS_ONLY):
        raise ValueError(
            f"{path}: not written by run.py extract, or its {_json_of(path).name} is missing"
        )
    return record


def check_same_record(path: Path, found: Record, wanted: Record) -> None:
    """Raise ValueError if a file holds other features than those to be written.

    Args:
        path: of the file, for the message.
        found: its record.
        wanted: record of the new features; "checkpoint", which may have moved, is ignored.
    """
    check_same_model(path, found, wanted)
    if found["format"] == NUMBERS_ONLY:
        raise ValueError(
            f"{path} was written by an earlier version: it can be searched, but not continued; "
            "choose another --output"
        )
    for key, value in wanted.items():
        if key not in ("checkpoint", "model") and found.get(key) != value:
            raise ValueError(
                f"{path} holds other features: {key} is {found.get(key)} there and {value} now; "
                f"choose another --output, or remove {_all_of(path)}"
            )


def check_same_model(path: Path, found: Record, wanted: Record) -> None:
    """Raise ValueError if a file holds features of another model."""
    differ = [key for key, value in wanted["model"].items() if found["model"].get(key) != value]
    if differ:
        raise ValueError(
            f"{path} holds features of {found['checkpoint']}, which cannot be compared with those "
            f"of {wanted['checkpoint']}: {', '.join(differ)} differ; use one checkpoint for both"
        )


def read_features(path: str | Path) -> StoredFeatures:
    """Read a .npz, or a .npy with its sidecars.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it was not written by this program, or is incomplete.
    """
    path = Path(path)
    record = read_record(path)
    check_complete(path, record)
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as content:
            columns = [content[name].tolist() for name in ARRAYS if name in content.files]
            return StoredFeatures(content["features"], _samples(zip(*columns, strict=True)), record)
    # copy on write: torch warns about read-only memory
    return StoredFeatures(np.load(path, mmap_mode="c"), read_samples(path), record)


def check_complete(path: Path, record: Record) -> None:
    """Raise ValueError if an extraction was interrupted."""
    if record["images_done"] < record["images"]:
        raise ValueError(
            f"{path} is incomplete, with {record['images_done']:,} of {record['images']:,} images; "
            "run the same extract command again"
        )


def read_samples(path: Path) -> list[Sample]:
    """The image of every row of a .npy."""
    with _csv_of(path).open(newline="", encoding="utf-8", errors=ERRORS) as file:
        rows = csv.reader(file)
        next(rows, None)
        return _samples(rows)


def _samples(rows: Iterable[Sequence[Any]]) -> list[Sample]:
    """The images of rows of COLUMNS; a file without names has only the first three."""
    return [
        Sample(path, int(pid), int(camid), UNKNOWN, *names) for path, pid, camid, *names in rows
    ]


def pack_features(source: Path, target: Path) -> None:
    """Write the features of a complete .npy as one .npz and remove the .npy and its sidecars."""
    stored = read_features(source)
    columns = map(np.array, zip(*map(_cells, stored.samples), strict=True))
    arrays = dict(zip(ARRAYS, columns, strict=True))
    arrays |= {"features": stored.features, "record": np.array(json.dumps(stored.record))}
    with atomic_file(target) as partial, partial.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
    _remove(source)


def unpack_features(source: Path, target: Path) -> None:
    """Write the features of a .npz as a .npy with its sidecars; an interrupted one starts anew."""
    stored = read_features(source)
    _remove(target)
    record = {key: value for key, value in stored.record.items() if key not in _OF_A_PROCESS}
    with FeatureFile(target, stored.features.shape[1], record) as file:
        file.append(torch.from_numpy(stored.features), stored.samples, stored.record["bad_images"])


def _remove(path: Path) -> None:
    """Remove a .npy and its sidecars."""
    for file in (path, _csv_of(path), _json_of(path)):
        file.unlink(missing_ok=True)


def _cells(sample: Sample) -> tuple[str, int, int, str, str]:
    """The values of COLUMNS."""
    return sample.path, sample.pid, sample.camid, sample.identity, sample.camera


def _all_of(path: Path) -> Path:
    """A pattern that matches the features file and its sidecars."""
    return path if path.suffix == ".npz" else path.with_suffix(".*")


def _csv_of(path: Path) -> Path:
    return path.with_suffix(".csv")


def _json_of(path: Path) -> Path:
    return path.with_suffix(".json")


def _open_at(path: Path, size: int) -> io.BufferedRandom:
    """Open a file, cut to `size` bytes, for writing at its end."""
    path.touch()
    file = path.open("r+b")
    file.truncate(size)
    file.seek(size)
    return file


def _csv_lines(samples: Sequence[Sample], *, with_header: bool) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    if with_header:
        writer.writerow(COLUMNS)
    writer.writerows(map(_cells, samples))
    return text.getvalue().encode("utf-8", ERRORS)

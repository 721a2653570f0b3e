"""Features on disk: a matrix, the images of its rows, and what made it.

`NAME.npy` holds the matrix, `NAME.csv` an image per row (`path,pid,camid`), and `NAME.json` a
record of what the features are and how far they have come. `NAME.npz` holds all of it in one file.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TypeAlias

import numpy as np
from numpy.lib import format as npy_format
from torch import Tensor

from datasets.records import Sample
from processor.runtime.files import atomic_file, write_json

Record: TypeAlias = dict[str, Any]

FORMAT = "clipreid-features/1"
COLUMNS = ("path", "pid", "camid")
HEADER_BYTES = 128  # of a .npy with a matrix; NumPy leaves room for any number of rows
ERRORS = "surrogateescape"  # of UTF-8: names of files are any bytes on Linux


@dataclass(frozen=True, slots=True)
class StoredFeatures:
    """Features from a file.

    Attributes:
        features: (N, D) float32; of a .npy mapped from the file, and not to be written to.
        paths: the images, as they were named.
        pids: (N,) int64; -1 where unknown.
        camids: (N,) int64; -1 where unknown.
        record: what made them: "model" (see `describe_features`), "checkpoint", "normalized", ...
    """

    features: np.ndarray
    paths: list[str]
    pids: np.ndarray
    camids: np.ndarray
    record: Record


class FeatureFile:
    """A `.npy` that grows at its end, with the two files beside it; use as a context.

    What was appended is on disk when `append` returns, and a process that is killed loses no more
    than the rows it was appending: the next `FeatureFile` of that path goes on behind the others.

    Args:
        path: the `.npy`.
        dim: D.
        record: what the features are; one that is there already must say the same.

    Raises:
        ValueError: what is there is other features, or no features at all.
    """

    def __init__(self, path: Path, dim: int, record: Record) -> None:
        self.path = path
        self._dim = dim
        self._record: Record = {"rows": 0, "images_done": 0, "csv_bytes": 0, "bad_images": []}
        beside = (_csv_of(path), _json_of(path))
        if beside[1].is_file():
            found = read_record(path)
            check_same_record(path, found, record)
            self._record = found
        else:
            for file in (path, *beside):
                if file.exists():
                    raise ValueError(
                        f"{file} is there and would be overwritten; choose another name"
                    )
            path.parent.mkdir(parents=True, exist_ok=True)
            self._record |= record
            write_json(beside[1], self._record)
        self._matrix = _open_at(path, HEADER_BYTES + 4 * dim * self.rows)
        self._table = _open_at(beside[0], self._record["csv_bytes"])

    @property
    def rows(self) -> int:
        """Rows so far."""
        return int(self._record["rows"])

    @property
    def images_done(self) -> int:
        """Images so far, counting broken ones, which have no row."""
        return int(self._record["images_done"])

    @property
    def bad_images(self) -> list[str]:
        """Broken ones so far."""
        return list(self._record["bad_images"])

    def append(
        self, features: Tensor, samples: Sequence[Sample], bad_images: Sequence[str] = ()
    ) -> None:
        """Add (n, D) rows of `samples`, and broken images that were met among them."""
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
        write_json(_json_of(self.path), self._record)  # from now on they count

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
    """What made the features of a .npy or .npz; raises FileNotFoundError, ValueError."""
    if not path.is_file() and not _json_of(path).is_file():
        raise FileNotFoundError(f"no features file {path}")
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as content:
            text = str(content["record"]) if "record" in content.files else "{}"
    else:
        beside = _json_of(path)
        text = beside.read_text(encoding="utf-8") if beside.is_file() else "{}"
    record = json.loads(text)
    if record.get("format") != FORMAT:
        raise ValueError(
            f"{path}: not made by run.py extract, or its {_json_of(path).name} is lost"
        )
    return record


def check_same_record(path: Path, found: Record, wanted: Record) -> None:
    """Raise ValueError if features on disk are not those that would be written.

    Args:
        path: their file, for the error.
        found: its record.
        wanted: the record of the new ones; "checkpoint", which may have moved, does not count.
    """
    check_same_model(path, found, wanted)
    for key, value in wanted.items():
        if key not in ("checkpoint", "model") and found.get(key) != value:
            raise ValueError(
                f"{path} holds other features: {key} is {found.get(key)} there and {value} now; "
                f"choose another --output, or remove {_all_of(path)}"
            )


def check_same_model(path: Path, found: Record, wanted: Record) -> None:
    """Raise ValueError if features on disk do not compare with those of another model."""
    differ = [key for key, value in wanted["model"].items() if found["model"].get(key) != value]
    if differ:
        raise ValueError(
            f"{path} holds features of {found['checkpoint']}, which do not compare with those of "
            f"{wanted['checkpoint']}: other {', '.join(differ)}; extract them with one checkpoint"
        )


def read_features(path: str | Path) -> StoredFeatures:
    """Read a .npz, or a .npy with the files beside it.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it was not made by this program, or is not finished.
    """
    path = Path(path)
    record = read_record(path)
    if record["images_done"] < record["images"]:
        raise ValueError(
            f"{path} is not finished, it has {record['images_done']:,} of {record['images']:,} "
            "images; run the same extract command again"
        )
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as content:
            columns = (content["paths"].tolist(), content["pids"], content["camids"])
            return StoredFeatures(content["features"], *columns, record)
    # copy on write, as torch warns of memory that it may not write to
    return StoredFeatures(np.load(path, mmap_mode="c"), *_read_csv(_csv_of(path)), record)


def pack_features(source: Path, target: Path) -> None:
    """Write the features of a finished .npy as one .npz and remove the three files."""
    stored = read_features(source)
    with atomic_file(target) as beside, beside.open("wb") as file:
        np.savez(
            file,
            features=stored.features,
            paths=np.array(stored.paths),
            pids=stored.pids,
            camids=stored.camids,
            record=np.array(json.dumps(stored.record)),
        )
    for file_ in (source, _csv_of(source), _json_of(source)):
        file_.unlink()


def _all_of(path: Path) -> Path:
    """A pattern of the files that belong together."""
    return path if path.suffix == ".npz" else path.with_suffix(".*")


def _csv_of(path: Path) -> Path:
    return path.with_suffix(".csv")


def _json_of(path: Path) -> Path:
    return path.with_suffix(".json")


def _open_at(path: Path, size: int) -> io.BufferedRandom:
    """A file that ends at `size`, to write on from there."""
    path.touch()
    file = path.open("r+b")
    file.truncate(size)
    file.seek(size)
    return file


def _csv_lines(samples: Sequence[Sample], *, with_header: bool) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    if with_header:
        writer.writerow(COLUMNS)
    writer.writerows((sample.path, sample.pid, sample.camid) for sample in samples)
    return text.getvalue().encode("utf-8", ERRORS)


def _read_csv(path: Path) -> tuple[list[str], np.ndarray, np.ndarray]:
    with path.open(newline="", encoding="utf-8", errors=ERRORS) as file:
        rows = csv.reader(file)
        next(rows)
        paths: list[str] = []
        ids: list[int] = []
        for name, pid, camid in rows:
            paths.append(name)
            ids += (int(pid), int(camid))
    pids, camids = np.array(ids, dtype=np.int64).reshape(-1, 2).T
    return paths, pids, camids

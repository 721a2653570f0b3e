"""Features in files: a matrix, the image of each row, and a record of the model and the progress.

`NAME.npy` holds the matrix, its sidecars `NAME.csv` an image per row (path, numbers and names of
identity and camera) and `NAME.json` the record. `NAME.npz` holds everything in one file.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.lib import format as npy_format
from torch import Tensor

from config.text import ERRORS
from datasets.records import Sample
from processor.runtime.files import errors_named, write_json
from processor.runtime.lock import try_lock
from processor.runtime.stored import REDO
from processor.search.feature_record import (
    FORMAT,
    NUMBERS_ONLY,
    PROGRESS,
    Record,
    check_record,
    check_same_record,
)
from processor.search.stored_checks import parse_samples, read_npz

NUMBER_COLUMNS = ("path", "pid", "camid")
COLUMNS = (*NUMBER_COLUMNS, "name", "camera")
ARRAYS = tuple(f"{column}s" for column in COLUMNS)  # of a .npz
SUFFIXES = (".npz", ".npy")
HEADER_BYTES = 128  # of a .npy with a matrix; NumPy pads it for any number of rows


class FeatureFile:
    """A growing `.npy` with its two sidecars; a context manager.

    Appended rows are on disk when `append` returns. A killed process loses only the rows that it
    was appending: the next `FeatureFile` of the same path continues after the others.

    Args:
        path: of the `.npy`.
        dim: D.
        record: of the features; an existing file must have the same record. Its "dtype" is
            float16 or, by default, float32.

    Raises:
        ValueError: the file exists with other features, was not written by this class, or is being
            written by another process.
    """

    def __init__(self, path: Path, dim: int, record: Record) -> None:
        self.path = path
        self._dim = dim
        self._type = np.dtype(record.get("dtype", "float32")).newbyteorder("<")
        self._record: Record = {**PROGRESS, "bad_images": []}
        sidecars = (csv_of(path), json_of(path))
        if not sidecars[1].is_file():
            for file in (path, *sidecars):
                is_new = file == path and file.exists() and not file.stat().st_size
                if file.exists() and not is_new:  # a process was killed before its record
                    raise ValueError(f"{file} exists and would be overwritten; choose another name")
            path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        self._matrix = path.open("r+b")
        try:
            if not try_lock(self._matrix.fileno()):
                raise ValueError(
                    f"{path} is being written by another process; wait for its end, or choose "
                    "another name"
                )
            self._continue(sidecars[1], record)
            _go_to(self._matrix, HEADER_BYTES + self._type.itemsize * dim * self.rows, self.rows)
            sidecars[0].touch()
            self._table = sidecars[0].open("r+b")
            _go_to(self._table, self._record["csv_bytes"], self.rows)
        except BaseException:
            self._matrix.close()
            raise

    def _continue(self, sidecar: Path, record: Record) -> None:
        """Take over the record of an interrupted extraction that had come to its first batch."""
        found = read_record(self.path) if sidecar.is_file() else self._record
        if found["images_done"]:
            check_same_record(self.path, found, record)
            self._record = found
        else:
            self._record |= record
            write_json(sidecar, self._record)

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
        again = set(paths)
        bad_images = [path for path in self.bad_images if path not in again]
        done = self.rows + len(bad_images)
        self._record |= {
            "bad_images": bad_images,
            "images_done": done,
            "images": done + len(paths),
            "images_sha256": digest,
            "appending": True,
        }
        write_json(json_of(self.path), self._record)

    def finish(self) -> None:
        """Say that all announced images are done."""
        self._record.pop("appending", None)
        write_json(json_of(self.path), self._record)

    def append(
        self, features: Tensor, samples: Sequence[Sample], bad_images: Sequence[str] = ()
    ) -> None:
        """Append (n, D) features of n `samples`, and the broken images among them.

        Raises:
            ValueError: other numbers of features and samples, or features that are not finite.
        """
        if len(features) != len(samples):
            raise ValueError(f"{self.path}: {len(features)} features of {len(samples)} images")
        with errors_named(self.path):
            self._append(features, samples, bad_images)

    def _append(
        self, features: Tensor, samples: Sequence[Sample], bad_images: Sequence[str]
    ) -> None:
        with np.errstate(over="ignore"):  # the next check tells more
            numbers = features.numpy().astype(self._type, copy=False)
        if not np.isfinite(numbers).all():
            raise ValueError(f"{self.path}: features beyond the range of {self._type}")
        self._matrix.write(numbers.tobytes())
        rows = self.rows + len(samples)
        end = self._matrix.tell()
        header = {"descr": self._type.str, "fortran_order": False, "shape": (rows, self._dim)}
        self._matrix.seek(0)
        npy_format.write_array_header_1_0(self._matrix, header)
        assert self._matrix.tell() == HEADER_BYTES
        self._matrix.seek(end)
        self._table.write(_csv_lines(samples, with_header=not self._table.tell()))
        for file in (self._matrix, self._table):  # on the disk before the record counts them
            file.flush()
            os.fsync(file.fileno())
        self._record["rows"] = rows
        self._record["images_done"] += len(samples) + len(bad_images)
        self._record["csv_bytes"] = self._table.tell()
        self._record["bad_images"] += bad_images
        write_json(json_of(self.path), self._record)  # commits the rows

    def __enter__(self) -> FeatureFile:
        return self

    def __exit__(self, *_: object) -> None:
        with errors_named(self.path):
            self._matrix.close()
            self._table.close()


def read_record(path: Path) -> Record:
    """Read the record of a .npy or .npz; raises as `read_features`."""
    if not path.is_file() and not json_of(path).is_file():
        raise FileNotFoundError(f"no features file {path}")
    sidecar, text = json_of(path), "{}"
    try:
        if path.suffix == ".npz":
            text = str(read_npz(path).get("record", text))
        elif sidecar.is_file():
            text = sidecar.read_text(encoding="utf-8")
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: its record is not JSON ({error}); {REDO}") from error
    if not isinstance(record, dict) or record.get("format") not in (FORMAT, NUMBERS_ONLY):
        raise ValueError(
            f"{path}: not written by run.py extract, or its {json_of(path).name} is missing"
        )
    check_record(path, record)
    return record


def read_samples(path: Path) -> list[Sample]:
    """The image of every row of a .npy."""
    with csv_of(path).open(newline="", encoding="utf-8", errors=ERRORS) as file:
        rows = csv.reader(file)
        next(rows, None)
        return parse_samples(csv_of(path), rows)


def growing_file(output: Path) -> Path:
    """The file written row by row: of a .npz, a hidden .npy next to it; raises ValueError."""
    if output.suffix not in SUFFIXES:
        raise ValueError(f"--output {output}: the name must end in {' or '.join(SUFFIXES)}")
    if output.suffix == ".npy":
        return output
    return output.with_name(f".{output.stem}.partial.npy")


def remove_file(path: Path) -> None:
    """Remove a .npy and its sidecars."""
    for file in (path, csv_of(path), json_of(path)):
        file.unlink(missing_ok=True)


def cells(sample: Sample) -> tuple[str, int, int, str, str]:
    """The values of COLUMNS."""
    return sample.path, sample.pid, sample.camid, sample.identity, sample.camera


def csv_of(path: Path) -> Path:
    """The images of a .npy."""
    return path.with_suffix(".csv")


def json_of(path: Path) -> Path:
    """The record of a .npy."""
    return path.with_suffix(".json")


def _go_to(file: io.BufferedRandom, size: int, rows: int) -> None:
    """Cut an open file to `size` bytes, which hold `rows`, and go to its end.

    Raises:
        ValueError: the file is shorter than that.
    """
    found = file.seek(0, io.SEEK_END)
    if rows and found < size:
        raise ValueError(f"{file.name}: {found:,} bytes, its record counts {size:,}; {REDO}")
    file.truncate(size)
    file.seek(size)


def _csv_lines(samples: Sequence[Sample], *, with_header: bool) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    if with_header:
        writer.writerow(COLUMNS)
    writer.writerows(map(cells, samples))
    return text.getvalue().encode("utf-8", ERRORS)

"""A gallery of named features that changes: add, remove, search, identify, save, load."""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Iterable, Sequence, Set
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from processor.metrics.normalize import unit_rows
from processor.metrics.pair_threshold import Threshold
from processor.runtime.files import atomic_file, write_json
from processor.runtime.lock import WRITE_SECONDS, locked_folder
from processor.search.exact import search
from processor.search.faiss_index import FaissIndex
from processor.search.feature_record import check_same_model
from processor.search.feature_rows import FeatureRows
from processor.search.gallery_file import FORMAT, read_gallery, read_record

RECORD_FILE = "gallery.json"
SAVING = ".saving"  # folder that is locked while a gallery is written
DIGITS = 16  # of the hash in the name of the features' file


logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Match:
    """A row of the gallery that a query found.

    Attributes:
        name: of the row.
        key: of the row, unique for the gallery's lifetime.
        distance: Euclidean, between features of length 1.
    """

    name: str
    key: int
    distance: float


class FeatureExtractor(Protocol):
    """What a gallery needs of an extractor; `processor.extractor.Extractor` is one."""

    checkpoint: str
    description: dict[str, str]

    def __call__(self, images: Any) -> Tensor: ...


def _describe(extractor: FeatureExtractor | None) -> dict[str, Any]:
    """The model of a gallery's features; empty without an extractor."""
    if extractor is None:
        return {"checkpoint": "", "model": {}}
    return {"checkpoint": extractor.checkpoint, "model": extractor.description}


def _as_name(name: Any) -> str:
    if name is None or name != name or not str(name).strip():
        raise ValueError(f"names: {name!r} is not a name; leave out images of unknown identities")
    return str(name)


def _as_camera(camera: Any) -> str | int | None:
    value = camera.item() if isinstance(camera, np.generic | Tensor) else camera
    whole = int(value) if isinstance(value, float) and value.is_integer() else value
    if isinstance(whole, bool) or not isinstance(whole, str | int | None):
        raise ValueError(f"cameras: {camera!r} is neither a name nor a whole number")
    return whole


class Gallery:
    """Named features of length 1, in the order in which they were added.

    Args:
        extractor: turns images into features, and its model is the gallery's; None = only features
            are given.
    """

    def __init__(self, extractor: FeatureExtractor | None = None) -> None:
        self.extractor = extractor
        self._features = torch.empty(0, 0)  # (capacity, D); the first len(self) rows are in use
        self._names: list[str] = []
        self._keys: list[int] = []
        self._cameras: list[str | int | None] = []
        self._next_key = 0
        self._model = _describe(extractor)
        self._index: FaissIndex | None = None  # of the present rows

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def names(self) -> list[str]:
        """The name of every row."""
        return list(self._names)

    @property
    def keys(self) -> list[int]:
        """The key of every row, ascending."""
        return list(self._keys)

    def add(
        self,
        images_or_features: Any,
        names: str | Iterable[str],
        cameras: Iterable[str | int] | None = None,
    ) -> list[int]:
        """Append rows.

        Args:
            images_or_features: images as for an `Extractor`, or (N, D) float features.
            names: one per row, or one for all.
            cameras: one per row; kept with the rows.

        Returns:
            The keys of the new rows; a key is never used again.

        Raises:
            ValueError: lengths or widths that differ, features that are not finite, a name that
                is missing, a camera that is neither text nor a whole number.
        """
        features = self._as_features(images_or_features)
        count = len(features)
        given = [names] * count if isinstance(names, str) else names
        if isinstance(given, Set) or not isinstance(given, Iterable):
            raise ValueError(f"names: expected one name per row, got {type(names).__name__}")
        labels = list(map(_as_name, given))
        places = list(map(_as_camera, [None] * count if cameras is None else cameras))
        for option, values in (("names", labels), ("cameras", places)):
            if len(values) != count:
                raise ValueError(f"{option}: {len(values)} for {count} rows")
        if not count:
            return []
        start, end = len(self), len(self) + count
        if end > len(self._features):
            larger = features.new_empty(max(end, 2 * start), features.shape[1])
            if start:
                larger[:start] = self._features[:start]
            self._features = larger
        self._features[start:end] = features
        self._index = None
        keys = list(range(self._next_key, self._next_key + count))
        self._next_key += count
        self._names += labels
        self._keys += keys
        self._cameras += places
        return keys

    def update(self, keys: Sequence[int], images_or_features: Any) -> None:
        """Replace the features of rows; names and keys stay.

        Raises:
            ValueError: unknown keys, or lengths that differ.
        """
        features = self._as_features(images_or_features)
        rows = self._rows_of(keys)
        if len(rows) != len(features):
            raise ValueError(f"keys: {len(rows)} for {len(features)} rows")
        if rows:
            self._features[torch.tensor(rows)] = features
            self._index = None

    def remove(
        self, names: str | Collection[str] | None = None, keys: Collection[int] | None = None
    ) -> int:
        """Remove all rows of some names, and rows by their keys; returns how many.

        Raises:
            ValueError: a name or key is not in the gallery; nothing is removed then.
        """
        wanted = (
            {names} if isinstance(names, str) else set(map(str, () if names is None else names))
        )
        unknown = wanted - set(self._names)
        if unknown:
            raise ValueError(f"names not in the gallery: {', '.join(sorted(unknown))}")
        gone = set(self._rows_of(() if keys is None else keys))
        gone |= {row for row, name in enumerate(self._names) if name in wanted}
        kept = [row for row in range(len(self)) if row not in gone]
        self._features = self._features[torch.tensor(kept, dtype=torch.long)]
        self._index = None
        self._names = [self._names[row] for row in kept]
        self._keys = [self._keys[row] for row in kept]
        self._cameras = [self._cameras[row] for row in kept]
        return len(gone)

    def search(
        self, images_or_features: Any, top: int = 10, index: str | None = None
    ) -> list[list[Match]]:
        """The nearest rows of every query, nearest first; of equal ones, the earlier row first.

        Args:
            images_or_features: of the queries.
            top: rows per query.
            index: None = exact, for any gallery; with faiss "flat" (exact, too) or "ivfpq", which
                may miss neighbours. An index is built by the first search after a change.

        Raises:
            ValueError: `top` below 1; features of another width or not finite; see `FaissIndex`.
        """
        if top < 1:
            raise ValueError(f"top: expected at least 1, got {top}")
        queries = self._as_features(images_or_features)
        if not len(self) or not len(queries):
            return [[] for _ in range(len(queries))]
        used = self._features[: len(self)]
        if index is None:
            found = search(queries, used, top)
        else:
            if self._index is None or self._index.kind != index:
                self._index = FaissIndex(used, index)
            found = self._index.search(queries, top)
        rows = zip(found.indices.tolist(), found.distances.tolist(), strict=True)
        return [
            [Match(self._names[i], self._keys[i], d) for i, d in zip(*pair, strict=True) if i >= 0]
            for pair in rows
        ]

    def identify(self, images_or_features: Any, threshold: float | Threshold) -> list[str | None]:
        """The name of the nearest row if it is within the threshold, else None: unknown.

        Args:
            images_or_features: of the queries.
            threshold: largest accepted distance, or the result of `find_threshold`.

        Raises:
            ValueError: a threshold that is not a number; see `search`.
        """
        limit = threshold.distance if isinstance(threshold, Threshold) else threshold
        if math.isnan(limit):
            raise ValueError("threshold: expected a distance, got NaN")
        found = self.search(images_or_features, top=1)
        return [x[0].name if x and x[0].distance <= limit else None for x in found]

    def save(self, folder: str | Path) -> None:
        """Write gallery.json and the features; a gallery of that folder is replaced atomically.

        Raises:
            ValueError: the gallery of that folder is damaged, or another program saves there for
                longer than a minute.
        """
        folder = Path(folder)
        with locked_folder(folder / SAVING, "folder", wait=WRITE_SECONDS):
            self._save(folder)

    def _save(self, folder: Path) -> None:
        if (folder / RECORD_FILE).is_file():
            read_record(folder / RECORD_FILE)  # not overwritten if it is something else
        used = self._features[: len(self)].contiguous().numpy()
        name = f"features_{sha256(used.tobytes()).hexdigest()[:DIGITS]}.npy"
        with atomic_file(folder / name) as partial, partial.open("wb") as file:
            np.save(file, used, allow_pickle=False)
        record = {
            "format": FORMAT,
            **self._model,
            "features": name,
            "names": self._names,
            "keys": self._keys,
            "cameras": self._cameras,
            "next_key": self._next_key,
        }
        write_json(folder / RECORD_FILE, record)
        for former in folder.glob(f"features_{'[0-9a-f]' * DIGITS}.npy"):
            if former.name != name:
                former.unlink(missing_ok=True)

    @classmethod
    def load(cls, folder: str | Path, extractor: FeatureExtractor | None = None) -> Gallery:
        """Read a saved gallery.

        Args:
            folder: of `save`.
            extractor: of the same model; None = only features will be given.

        Raises:
            FileNotFoundError: no gallery in the folder.
            ValueError: a damaged gallery, or one of another model; names both.
        """
        path = Path(folder) / RECORD_FILE
        record, features = read_gallery(path)
        if extractor is not None and record["model"]:
            check_same_model(path, record, _describe(extractor))
        columns = [record["names"], record["keys"], record["cameras"]]
        rising = all(a < b for a, b in pairwise([-1, *record["keys"], record["next_key"]]))
        if {len(column) for column in columns} != {len(features)} or not rising:
            raise ValueError(f"{path} is damaged: its rows do not fit its features")
        gallery = cls(extractor)
        gallery._features = torch.from_numpy(features)
        gallery._names, gallery._keys, gallery._cameras = columns
        gallery._next_key = record["next_key"]
        if extractor is not None and not record["model"] and len(gallery):
            logger.warning(
                "%s: its features were given without a model, so it is unknown whether %s is the "
                "model that made them",
                path,
                extractor.checkpoint,
            )
        if extractor is None or not record["model"]:  # what is known stays when it is saved again
            gallery._model = {key: record[key] for key in gallery._model}
        return gallery

    def _rows_of(self, keys: Iterable[int]) -> list[int]:
        rows, keys = {key: row for row, key in enumerate(self._keys)}, list(keys)
        unknown = [key for key in keys if key not in rows]
        if unknown:
            raise ValueError(f"keys not in the gallery: {', '.join(map(str, unknown))}")
        return [rows[key] for key in keys]

    def _as_features(self, given: Any) -> Tensor:
        """(N, D) rows of length 1 of features or of images."""
        if isinstance(given, FeatureRows):
            given = np.asarray(given)
        if isinstance(given, np.ndarray) and given.dtype.kind == "f" and given.ndim == 2:
            given = torch.from_numpy(given)
        features = given
        if not (isinstance(given, Tensor) and given.is_floating_point() and given.ndim == 2):
            if self.extractor is None:
                raise ValueError("a gallery without an extractor takes (N, D) float features only")
            features = self.extractor(given)
        features = features.detach().cpu().float()
        if features.numel():
            features = unit_rows(features)
        width = self._features.shape[1]
        if len(self) and len(features) and features.shape[1] != width:
            raise ValueError(f"features of width {features.shape[1]}, the gallery has {width}")
        return features

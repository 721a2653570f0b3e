"""The files of a saved gallery, checked before they are used."""

from __future__ import annotations

import json
from pathlib import Path
from types import NoneType
from typing import Any

import numpy as np

from processor.runtime.stored import REDO, check_all, check_fields
from processor.search.stored_checks import check_matrix, map_npy

FORMAT = "clipreid-gallery/1"
_KINDS: dict[str, type] = {
    "checkpoint": str,
    "model": dict,
    "features": str,
    "names": list,
    "keys": list,
    "cameras": list,
    "next_key": int,
}


def read_gallery(path: Path) -> tuple[dict[str, Any], np.ndarray]:
    """The content of gallery.json and the (rows, D) features that it names.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file is damaged.
    """
    while True:
        if not path.is_file():
            raise FileNotFoundError(f"no gallery in {path.parent}: {path.name} is missing")
        record = read_record(path)
        try:
            features = path.with_name(Path(record["features"]).name)
            return record, _read_features(features, len(record["names"]))
        except FileNotFoundError as error:
            if read_record(path)["features"] == record["features"]:
                raise ValueError(
                    f"{path} is damaged: {features.name} is missing; {REDO}"
                ) from error
            # else another program has replaced the gallery in between


def read_record(path: Path) -> dict[str, Any]:
    """The content of gallery.json; raises ValueError if a field is damaged."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: not JSON ({error}); {REDO}") from error
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise ValueError(f"{path} is not a gallery of this program")
    check_fields(path, record, _KINDS)
    check_all(path, "names", record["names"], (str,))
    check_all(path, "keys", record["keys"], (int,))
    check_all(path, "cameras", record["cameras"], (str, int, NoneType))
    return record


def _read_features(path: Path, rows: int) -> np.ndarray:
    """(rows, D) features; raises ValueError if the file is damaged or of other rows."""
    # mapped first, as a damaged header may ask for any size
    found = map_npy(path, "r") if rows else np.empty((0, 0), "f4")
    check_matrix(path, found, rows, normalized=True)
    return np.array(found)

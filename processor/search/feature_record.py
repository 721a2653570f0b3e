"""The record beside features: the model, the images and the progress of the extraction."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias

from processor.runtime.stored import REDO, check_all, check_fields

Record: TypeAlias = dict[str, Any]

FORMAT = "clipreid-features/2"
NUMBERS_ONLY = "clipreid-features/1"  # without names
PROGRESS = {"rows": 0, "images_done": 0, "csv_bytes": 0, "bad_images": []}
OF_A_PROCESS = (*PROGRESS, "appending")  # entries of a record that say how far a process got
_DEFAULTS = {"dtype": "float32"}
_KINDS: dict[str, type] = {
    **{key: type(value) for key, value in PROGRESS.items()},
    "model": dict,
    "checkpoint": str,
    "normalized": bool,
    "dim": int,
    "images": int,
    "images_sha256": str,
}


def without_progress(record: Record) -> Record:
    """What a record says of features, whoever has written them and how far."""
    return {key: value for key, value in record.items() if key not in OF_A_PROCESS}


def check_record(path: Path, record: Record) -> None:
    """Raise ValueError, with file and field, if a field of a record is damaged."""
    check_fields(path, record, {key: kind for key, kind in _KINDS.items() if key in record})
    check_all(path, "bad_images", record.get("bad_images", []), (str,))
    if min(value for value in (0, *record.values()) if isinstance(value, int)) < 0:
        raise ValueError(f"{path}: its record has negative counts; {REDO}")


def check_shape(path: Path, record: Record, shape: tuple[int, ...]) -> None:
    """Raise ValueError if a record counts other rows or columns than the (N, D) features have."""
    counted = record.get("rows", shape[0]), record.get("dim", shape[1])
    if counted != shape:
        raise ValueError(f"{path}: the features are {shape}, its record has {counted}; {REDO}")


def check_same_record(path: Path, found: Record, wanted: Record) -> None:
    """Raise ValueError if a file holds other features than those to be written.

    Args:
        path: of the file, for the message.
        found: its record.
        wanted: record of the new features; "checkpoint", which may have moved, is ignored.
    """
    try:
        check_same_model(path, found, wanted)
    except ValueError as error:
        raise ValueError(f"{error}, choose another --output, or remove {_all_of(path)}") from None
    if found["format"] == NUMBERS_ONLY:
        raise ValueError(
            f"{path} was written by an earlier version: it can be searched, but not continued; "
            "choose another --output"
        )
    for key in (*wanted, "dtype"):
        there, now = (record.get(key, _DEFAULTS.get(key)) for record in (found, wanted))
        if key not in ("checkpoint", "model") and there != now:
            raise ValueError(
                f"{path} holds other features: {key} is {there} there and {now} now; "
                f"choose another --output, or remove {_all_of(path)}"
            )


def check_same_model(path: Path, found: Record, wanted: Record) -> None:
    """Raise ValueError if a file holds features of another model."""
    check_fields(path, found, {"model": dict, "checkpoint": str})
    keys = dict.fromkeys([*wanted["model"], *found["model"]])
    differ = [key for key in keys if found["model"].get(key) != wanted["model"].get(key)]
    if differ:
        raise ValueError(
            f"{path} holds features of {found['checkpoint']}, which cannot be compared with those "
            f"of {wanted['checkpoint']}: {', '.join(differ)} differ; use one checkpoint for both"
        )


def check_complete(path: Path, record: Record) -> None:
    """Raise ValueError if an extraction was interrupted."""
    check_fields(path, record, {"images": int, "images_done": int})
    if record["images_done"] < record["images"]:
        raise ValueError(
            f"{path} is incomplete, with {record['images_done']:,} of {record['images']:,} images; "
            "run the same extract command again"
        )


def _all_of(path: Path) -> Path:
    """A pattern that matches the features file and its sidecars."""
    return path if path.suffix == ".npz" else path.with_suffix(".*")

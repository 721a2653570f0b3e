"""Checks of stored records before they are used."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

REDO = "write it again"


def check_fields(
    source: Path | str, record: Any, kinds: Mapping[str, type | tuple[type, ...]]
) -> None:
    """Raise ValueError, with source and field, unless every field has its type.

    A bool is not taken for a number.
    """
    if not isinstance(record, dict):
        raise ValueError(
            f"{source}: expected a block of fields, got {type(record).__name__}; {REDO}"
        )
    for name, kind in kinds.items():
        value = record.get(name)
        mistaken = isinstance(value, bool) and kind is not bool
        if mistaken or not isinstance(value, kind):
            raise ValueError(f"{source}: {name} is {str(value)[:60]!r}; {REDO}")


def check_all(source: Path | str, name: str, values: list[Any], kinds: tuple[type, ...]) -> None:
    """Raise ValueError if an entry of a list has another type."""
    for value in values:
        if isinstance(value, bool) or not isinstance(value, kinds):
            raise ValueError(f"{source}: an entry of {name} is {str(value)[:60]!r}; {REDO}")

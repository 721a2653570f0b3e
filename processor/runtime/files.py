"""Atomic file writes: readers see the old file or the new one, never a part."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from config.text import ERRORS


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder, which replaces `path` at the end.

    After an error the temporary file is removed and `path` is unchanged. Leftovers of a killed
    process are overwritten by the next write.
    """
    temporary = path.with_name(f".{path.name}.partial")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def make_folder(path: Path, option: str = "OUTPUT_DIR") -> None:
    """Create a folder and its parents.

    Raises:
        ValueError: it cannot be created; names the option.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"{option}: cannot write into {path}: {error.strerror}") from error


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors=ERRORS)


def replace_non_finite(line: dict[str, Any]) -> dict[str, Any]:
    """The line with None for NaN and infinity, which JSON cannot express."""
    bad = (key for key, v in line.items() if isinstance(v, float) and not math.isfinite(v))
    return {**line, **dict.fromkeys(bad)}

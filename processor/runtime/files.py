"""Files that are there as a whole or not at all."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A path beside the file, to be written to; what is there takes the file's place at the end.

    After an error nothing of it is left, and the file is as before. What a killed process left is
    overwritten by the next.
    """
    beside = path.with_name(f".{path.name}.partial")
    try:
        yield beside
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def make_folder(path: Path, option: str = "OUTPUT_DIR") -> None:
    """Make the folder a run writes to.

    Raises:
        ValueError: it cannot be made; names the option.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"{option}: cannot write into {path}: {error.strerror}") from error


def write_json(path: Path, content: Any) -> None:
    """Write JSON, whole or not at all."""
    write_whole(path, json.dumps(content, indent=2) + "\n")


def write_whole(path: Path, text: str) -> None:
    """Write a file that is there as a whole or not at all."""
    with whole_file(path) as beside:
        beside.write_text(text, encoding="utf-8")


def _finite(line: dict[str, Any]) -> dict[str, Any]:
    """JSON has no NaN and no infinity."""
    bad = (key for key, v in line.items() if isinstance(v, float) and not math.isfinite(v))
    return {**line, **dict.fromkeys(bad)}

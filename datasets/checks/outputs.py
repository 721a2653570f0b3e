"""Outputs are never read as data: no images are written into folders that are read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from datasets.own.entries import SPLITS
from datasets.registry import locate


def refuse_inside_data(output: Path, option: str, places: Iterable[str], root: str) -> None:
    """Refuse an output below a folder of images, which the next command would read as data.

    Args:
        output: file or folder to be written.
        option: that names the output, for the error.
        places: what is read: data sets, own data, splits such as `my_shop:query`, or folders.
        root: the data root.

    Raises:
        ValueError: names the output and the folder.
    """
    target = output.resolve()
    for folder in _folders(places, root):
        if target.is_relative_to(folder):
            raise ValueError(
                f"{option}: {output} lies in {folder}, whose images are read as data, and so would "
                "be the new images; choose a folder outside it"
            )


def _folders(places: Iterable[str], root: str) -> Iterator[Path]:
    """The folders among the places that are searched for images."""
    for place in places:
        name, _, split = place.rpartition(":")
        path = Path(place)
        if not path.is_dir():
            found = locate(name if split in SPLITS else place, root)[1]
            if found is None or not found.is_dir():
                continue
            path = found
        yield path.resolve()

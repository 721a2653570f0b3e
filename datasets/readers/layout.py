"""Find a data set below the data root, and read its images and lists."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import indent

from config.text import read_text
from datasets.readers.image_files import find_files, is_image


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a data set may be, and what its folder holds.

    Attributes:
        name: registry name.
        folders: folders to try below the data root, in order; "." is the root itself.
        parts: files and folders that the folder must hold; "a|b" means either.
        tree: the expected tree as text, for the error message.
    """

    name: str
    folders: tuple[str, ...]
    parts: tuple[str, ...]
    tree: str


def find_tree(layout: Layout, root: Path) -> Path:
    """The first of the layout's folders that holds all parts.

    Raises:
        FileNotFoundError: no folder does; lists every path tried and the expected tree.
    """
    return find_any_tree((layout,), root)[1]


def find_any_tree(layouts: Sequence[Layout], root: Path) -> tuple[Layout, Path]:
    """The first layout that is found, and its folder.

    Raises:
        FileNotFoundError: no layout is found; lists every path tried and the expected trees.
    """
    tried = []
    for layout in layouts:
        for folder in layout.folders:
            path = root / folder
            missing = _missing_parts(path, layout.parts)
            if not missing:
                return layout, path
            reason = f"lacks {', '.join(missing)}" if path.is_dir() else "no such folder"
            tried.append(f"{path}  ({reason})")
    trees = "\nor\n".join(indent(layout.tree.strip(), "  ") for layout in layouts)
    raise FileNotFoundError(
        f"data set {layouts[0].name} not found. Tried:\n{indent(chr(10).join(tried), '  ')}\n"
        f"Expected:\n{trees}\n"
        f"The data root is {str(root)!r}: set DATASETS.ROOT_DIR or the environment variable "
        "REID_DATA."
    )


def list_images(folder: Path) -> list[Path]:
    """The image files of a folder, by name; hidden files and other types are skipped."""
    return sorted(path for path in folder.iterdir() if is_image(path))


def match_images(
    name: str, folder: Path, pattern: re.Pattern[str], example: str
) -> list[tuple[Path, re.Match[str]]]:
    """The images in and below a folder, by path, each with the match of its path.

    The pattern sees the whole path, with "/" between folders, so that it can take the identity from
    a folder and the camera from the file name.

    Raises:
        FileNotFoundError: the folder holds no image.
        ValueError: an image's path does not match.
    """
    images = find_files(folder).images
    if not images:
        raise no_images(name, folder, f"files like {example}")
    return [(path, _match_path(name, path, pattern, example)) for path in images]


def _match_path(name: str, path: Path, pattern: re.Pattern[str], example: str) -> re.Match[str]:
    match = pattern.search(path.as_posix())
    if match is None:
        raise ValueError(f"data set {name}: cannot read {path}: expected a path like {example}")
    return match


def no_images(name: str, folder: Path, expected: str) -> FileNotFoundError:
    """The error for a folder without images."""
    return FileNotFoundError(
        f"data set {name}: no images in {folder}; expected {expected}. Is the copy complete?"
    )


def read_id_list(path: Path) -> list[tuple[str, int]]:
    """Lines "image identity" of a list file; blank lines are skipped.

    Raises:
        ValueError: a line has another form; names file and line.
    """
    entries = []
    lines = read_text(path).splitlines()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        image, _, identity = line.strip().rpartition(" ")
        if not image or not identity.isdecimal():
            raise ValueError(f"{path}, line {number}: expected 'image identity', found {line!r}")
        entries.append((image.strip(), int(identity)))
    return entries


def _missing_parts(folder: Path, parts: tuple[str, ...]) -> list[str]:
    return [
        part.replace("|", " or ")
        for part in parts
        if not any((folder / choice).exists() for choice in part.split("|"))
    ]

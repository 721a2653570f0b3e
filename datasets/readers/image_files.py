"""Which files count as images, and which files of a folder are not read."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath

from PIL import Image

logger = logging.getLogger(__name__)

# Pillow hands these to other programs, or knows only their headers.
_REFUSED_FORMATS = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "IPTC", "MPEG", "WMF"})

TABLE_SUFFIXES = (".csv", ".tsv")

# Files that belong to images without being any: nobody expects them to be read.
_SIDE_SUFFIXES = frozenset(
    {*TABLE_SUFFIXES, ".txt", ".md", ".rst", ".html", ".log", ".json", ".jsonl", ".xml", ".yml"}
    | {".yaml", ".toml", ".ini", ".db", ".mat", ".npy", ".npz", ".pkl", ".pth", ".pt", ".h5"}
    | {".py", ".sh", ".url", ".lnk"}
)
_SIDE_NAMES = ("readme", "license", "licence", "copying", "changelog", "makefile", "authors")
# Made by systems, beside hidden ones: waste baskets, thumbnails, copies of attributes.
_SYSTEM_FOLDERS = ("$recycle.bin", "lost+found", "__macosx", "@eadir", "system volume information")


def image_formats() -> list[str]:
    """Pillow's names of the formats that are read.

    All that the installed Pillow decodes itself, with those of registered plug-ins such as
    pillow-heif's. PostScript is not, as Ghostscript would run it.
    """
    Image.preinit()  # the usual formats are tried first
    Image.init()
    return [name for name in Image.ID if name not in _REFUSED_FORMATS]


def is_image(path: Path) -> bool:
    """Whether a file is to be read: its ending is one of Pillow's, or it has none and is an image.

    Hidden files, such as macOS's sidecars `._x.jpg`, are not.
    """
    if path.name.startswith("."):
        return False
    if path.suffix in ("", "."):
        return path.is_file() and _is_image_inside(path)
    return has_image_suffix(path)


def has_image_suffix(path: PurePath) -> bool:
    """Whether a name that is not hidden has one of Pillow's endings."""
    kind = Image.registered_extensions().get(path.suffix.lower())
    hidden = path.name.startswith(".")
    return not hidden and kind in Image.OPEN and kind not in _REFUSED_FORMATS


def _is_image_inside(path: Path) -> bool:
    with_mark = [name for name in image_formats() if Image.OPEN[name][1]]
    try:
        with Image.open(path, formats=with_mark):
            return True
    except Exception:  # Pillow's readers fail in many ways on what is not theirs
        return False


@dataclass(frozen=True, slots=True)
class FoundFiles:
    """The files in and below a folder.

    Attributes:
        images: image files, by path.
        unread: other files and broken links, by path, but hidden ones and side files such as
            README, Thumbs.db, text, tables and annotations.
    """

    images: list[Path]
    unread: list[Path]


def find_files(folder: Path) -> FoundFiles:
    """The files in and below a folder, without those of hidden and of systems' folders.

    Links are followed, but not to a folder around them.
    """
    found = FoundFiles([], [])
    for path in sorted(_walk(folder, ())):
        if is_image(path) and not is_broken_link(path):
            found.images.append(path)
        elif not is_side_file(path):
            found.unread.append(path)
    return found


def _walk(folder: Path, around: tuple[Path, ...]) -> Iterator[Path]:
    real = folder.resolve()
    if real in around:
        logger.warning("%s is a link to a folder around it, which is read once", folder)
        return
    for path in folder.iterdir():
        if path.is_dir():
            if not is_hidden(path):
                yield from _walk(path, (*around, real))
        elif path.is_file() or is_broken_link(path):
            yield path


def is_hidden(folder: Path) -> bool:
    """Whether a folder is hidden, or one that systems make for themselves."""
    return folder.name.startswith(".") or folder.name.lower() in _SYSTEM_FOLDERS


def is_broken_link(path: Path) -> bool:
    """Whether a path is a link to nowhere."""
    return path.is_symlink() and not os.path.exists(path)  # noqa: PTH110 - False for a loop


def is_side_file(path: PurePath) -> bool:
    """Whether a file belongs to images without being one, so that nobody misses it."""
    suffix = path.suffix.lower()
    bare = not suffix and path.name.lower() in _SIDE_NAMES
    return path.name.startswith(".") or bare or suffix in _SIDE_SUFFIXES


def describe_unread(paths: Iterable[Path | str]) -> str:
    """The number of files not read, and of each ending, the most frequent first; "" if none."""
    endings = Counter(map(_ending, paths))
    if not endings:
        return ""
    total = sum(endings.values())
    ordered = sorted(endings.items(), key=lambda item: (-item[1], item[0]))
    counts = ", ".join(f"{ending} {n:,}" for ending, n in ordered)
    return f"{total:,} file{'s' if total > 1 else ''} not read: {counts}"


def _ending(path: Path | str) -> str:
    if is_broken_link(Path(path)):
        return "broken links"
    return Path(path).suffix.lower() or "none"

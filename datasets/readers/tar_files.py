"""Images in tar files, as webdataset lays them out; they are read in place.

`shard.tar/000017.jpg` is the path of a member. Members that share a name up to its first dot are of
one image: `000017.cls` holds its pid, `000017.json` its pid and camid, all as whole numbers.
"""

from __future__ import annotations

import json
import posixpath
import re
import tarfile
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

from datasets.readers.image_files import has_image_suffix, is_side_file
from datasets.records import UNKNOWN, Sample

SUFFIX = ".tar"
MOST_INDEXES = 256  # kept in memory
_TAR_FOLDER = re.compile(r"\.tar/", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Contents:
    """The images of a tar file, in its order.

    Attributes:
        samples: with pid and camid where the tar tells them.
        unread: names of other members that belong to no image.
    """

    samples: list[Sample]
    unread: list[str]


def is_tar(path: Path) -> bool:
    """Whether a path names an uncompressed tar file."""
    return path.suffix.lower() == SUFFIX and path.is_file()


def find_tars(folder: Path) -> list[Path]:
    """The tar files in a folder, by name."""
    return sorted(path for path in folder.iterdir() if is_tar(path))


def read_tar(path: Path) -> Contents:
    """The images of a tar file and what is known of them.

    Raises:
        ValueError: it is damaged, compressed or cut off, has two members of one name, or a label
            that is not a whole number.
    """
    index = _index_of(path)
    labels: dict[str, dict[str, int]] = {}
    images, unread = [], list(index.others)
    for name in index.places:
        if has_image_suffix(PurePosixPath(name)):
            images.append(name)
        elif name.endswith((".cls", ".json")):
            labels.setdefault(_key(name), {}).update(_read_labels(path, name))
        elif not is_side_file(PurePosixPath(name)):
            unread.append(name)
    samples = []
    for name in images:
        own = labels.get(_key(name), {})
        pid, camid = own.get("pid", UNKNOWN), own.get("camid", UNKNOWN)
        who, where = ("" if number == UNKNOWN else str(number) for number in (pid, camid))
        samples.append(Sample(f"{path}/{name}", pid, camid, UNKNOWN, who, where))
    return Contents(samples, unread)


def read_member(path: str) -> bytes | None:
    """The content of a member, or None for a path that does not lead into a tar file.

    Raises:
        FileNotFoundError: the tar file has no such member.
    """
    found = _split(path)
    if found is None:
        return None
    tar, name = found
    place = _index_of(tar).places.get(name)
    if place is None:
        raise FileNotFoundError(f"{tar} has no such member")
    with tar.open("rb") as file:
        file.seek(place[0])
        return file.read(place[1])


def is_readable(path: str) -> bool:
    """Whether a path is a file or the member of a tar file."""
    found = _split(path)
    return Path(path).is_file() if found is None else found[1] in _index_of(found[0]).places


def _split(path: str) -> tuple[Path, str] | None:
    """The tar file that a path leads into, and the name of the member there."""
    for match in _TAR_FOLDER.finditer(path):
        tar = Path(path[: match.end() - 1])
        if tar.is_file():
            return tar, posixpath.normpath(path[match.end() :])
    return None


@dataclass(frozen=True, slots=True)
class _Index:
    """What is in a tar file.

    Attributes:
        places: name -> offset and size of every file; a hard link's are those of its file.
        others: names of what is neither file nor folder, such as symbolic links.
    """

    places: dict[str, tuple[int, int]]
    others: tuple[str, ...]


def _index_of(path: Path) -> _Index:
    """The index of a tar file; raises ValueError as `read_tar`."""
    state = path.stat()
    return _read_index(str(path), state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=MOST_INDEXES)
def _read_index(path: str, size: int, _changed: int) -> _Index:
    try:
        with tarfile.open(path, "r:") as tar:
            members = [member for member in tar if not member.isdir()]
    except (tarfile.TarError, EOFError) as error:
        raise ValueError(f"{path}: not a tar file, compressed or damaged ({error})") from error
    if members and members[-1].offset_data + members[-1].size > size:
        raise ValueError(f"{path} is cut off: {members[-1].name} reaches beyond its end")
    names = [posixpath.normpath(member.name) for member in members]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"{path}: {len(twice)} names occur more than once, e.g. {twice[0]}")
    places: dict[str, tuple[int, int]] = {}
    others = []
    for name, member in zip(names, members, strict=True):
        target = posixpath.normpath(member.linkname)
        if member.isreg():
            places[name] = (member.offset_data, member.size)
        elif member.islnk() and target in places:
            places[name] = places[target]
        else:
            others.append(name)
    return _Index(places, tuple(others))


def _key(name: str) -> str:
    """The name of an image without its endings, as webdataset takes it."""
    folder, _, file = name.rpartition("/")
    return f"{folder}/{file.partition('.')[0]}"


def _read_labels(tar: Path, name: str) -> dict[str, int]:
    """Pid and camid in a member; raises ValueError if they are not whole numbers."""
    text = (read_member(f"{tar}/{name}") or b"").decode("utf-8", "replace")
    try:
        found = {"pid": json.loads(text)} if name.endswith(".cls") else json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{tar}/{name}: not JSON ({error})") from error
    if not isinstance(found, dict):
        return {}
    labels = {field: found[field] for field in ("pid", "camid") if field in found}
    for field, value in labels.items():
        if isinstance(value, bool) or not isinstance(value, int) or not -1 <= value < 2**63:
            raise ValueError(f"{tar}/{name}: {field} is {str(value)[:60]!r}, not a whole number")
    return labels

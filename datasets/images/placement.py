"""Where the training images are kept: in their files, in RAM or on the device, by free memory."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from config.machine import control_groups
from datasets.images.cache import forks

RAM_SHARE = 1 / 2
DEVICE_SHARE = 1 / 3  # most of the device's memory is needed for training

_V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
_V2 = ("memory.max", "memory.current", "inactive_file")


@dataclass(frozen=True, slots=True)
class FreeMemory:
    """Free memory in bytes.

    Attributes:
        ram: of the machine, within this process's limits; 0 = unknown.
        device: of a device with its own memory; None for other devices.
    """

    ram: int
    device: int | None = None


@dataclass(frozen=True, slots=True)
class Need:
    """Memory that the training images take, and how often they are read.

    Attributes:
        num_images: N.
        image_bytes: size of a resized image.
        augmented_reads: number of times that every image is augmented.
        plain_reads: number of times that every image is read without augmentation.
        one_cache: images with and without augmentation are resized alike and can share a cache.
        colours: augmentation changes colours, which is done image by image only.
    """

    num_images: int
    image_bytes: int
    augmented_reads: float
    plain_reads: float = 0.0
    one_cache: bool = False
    colours: bool = False

    @property
    def size(self) -> int:
        """Bytes of all images."""
        return self.num_images * self.image_bytes

    @property
    def reads(self) -> float:
        """Number of times that every image of the augmented images' cache is read."""
        return self.augmented_reads + (self.plain_reads if self.one_cache else 0)


def measure_memory(device: torch.device) -> FreeMemory:
    """The memory that is free now."""
    own = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None
    return FreeMemory(free_ram(), own)


def choose_place(wanted: str, need: Need, free: FreeMemory) -> tuple[str, str]:
    """Choose where images to augment are kept.

    Args:
        wanted: auto | none | ram | device.
        need: memory that they take.
        free: memory that is free.

    Returns:
        none | ram | device, and the reason for the log.

    Raises:
        ValueError: the images do not fit in the wanted place.
    """
    if wanted in ("ram", "device"):
        _check_fit(wanted, need, free)
    if wanted != "auto":
        return wanted, f"INPUT.CACHE {wanted}"
    if need.reads <= 1:
        return "none", "every image is needed once"
    if free.device is not None and not need.colours and need.size <= DEVICE_SHARE * free.device:
        return "device", f"{gigabytes(free.device)} are free there"
    if need.size <= RAM_SHARE * free.ram:
        return "ram", f"{gigabytes(free.ram)} are free"
    return "none", f"{gigabytes(need.size)} are too much for {gigabytes(free.ram)} of free memory"


def keep_plain(place: str, need: Need, free: FreeMemory) -> bool:
    """Whether images without augmentation are kept in RAM, too, instead of read from files again.

    Args:
        place: of the images to augment, none | ram | device.
        need: memory that the images take.
        free: memory that is free.
    """
    pays = need.plain_reads > (0 if need.one_cache else 1)
    if need.one_cache and place == "ram":
        return pays
    copies = 2 if place == "ram" else 1
    return place != "none" and pays and copies * need.size <= RAM_SHARE * free.ram


def _check_fit(wanted: str, need: Need, free: FreeMemory) -> None:
    room = free.ram if wanted == "ram" or free.device is None else free.device
    if 0 < room < need.size:
        raise ValueError(
            f"INPUT.CACHE: {wanted} needs {gigabytes(need.size)} for {need.num_images:,} training "
            f"images, but {gigabytes(room)} are free; set it to auto or none"
        )


def gigabytes(size: float) -> str:
    """Bytes as text, such as 1.5 GB."""
    return f"{size / 2**30:.3g} GB"


def free_ram() -> int:
    """Bytes that this process may allocate, within its control groups' limits; 0 = unknown."""
    rooms = [psutil.virtual_memory().available, *cgroup_rooms(control_groups("memory"))]
    if not forks() and Path("/dev/shm").is_dir():  # shared memory of spawned workers
        rooms.append(shutil.disk_usage("/dev/shm").free)
    return max(min(rooms), 0)


def cgroup_rooms(groups: Iterable[tuple[Path, int]]) -> Iterator[int]:
    """Bytes left in each of the `control_groups` that has a limit."""
    for group, version in groups:
        yield from _group_room(group, *(_V1 if version == 1 else _V2))


def _group_room(group: Path, limit: str, usage: str, reclaimable: str) -> Iterator[int]:
    try:
        most = (group / limit).read_text(encoding="ascii").strip()
        used = int((group / usage).read_text(encoding="ascii"))
        lines = (group / "memory.stat").read_text(encoding="ascii").splitlines()
    except OSError:  # the root has no limit, and a container sees only its own group
        return
    if most != "max":
        stat = dict(line.split() for line in lines)
        yield int(most) - used + int(stat.get(reclaimable, 0))  # the file cache can be reclaimed

"""How much memory is free, and where the training images go."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from datasets.images.cache import forks

RAM_SHARE = 1 / 2
DEVICE_SHARE = 1 / 3  # a model in training takes the most of it

_CGROUPS = Path("/sys/fs/cgroup")
_V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
_V2 = ("memory.max", "memory.current", "inactive_file")


@dataclass(frozen=True, slots=True)
class FreeMemory:
    """Bytes that are free.

    Attributes:
        ram: of the machine and of this process's limits; 0 = unknown.
        device: of a device that has its own memory; None for the others.
    """

    ram: int
    device: int | None = None


@dataclass(frozen=True, slots=True)
class Need:
    """What keeping the training images in memory takes, and what it saves.

    Attributes:
        num_images: N.
        image_bytes: of one resized image.
        reads: times that every image is read for training.
        colours: colours are changed at random, which happens image by image only.
    """

    num_images: int
    image_bytes: int
    reads: float
    colours: bool

    @property
    def size(self) -> int:
        """Bytes of all images."""
        return self.num_images * self.image_bytes


def measure_memory(device: torch.device) -> FreeMemory:
    """What is free now."""
    own = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None
    return FreeMemory(free_ram(), own)


def choose_place(wanted: str, need: Need, free: FreeMemory) -> tuple[str, str]:
    """Where the training images stay, and why.

    Args:
        wanted: auto | none | ram | device.
        need: what it takes.
        free: what there is.

    Returns:
        none | ram | device, and a few words for the log.

    Raises:
        ValueError: what is wanted does not fit.
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


def _check_fit(wanted: str, need: Need, free: FreeMemory) -> None:
    room = free.ram if wanted == "ram" or free.device is None else free.device
    if 0 < room < need.size:
        raise ValueError(
            f"INPUT.CACHE: {wanted} needs {gigabytes(need.size)} for {need.num_images:,} training "
            f"images, {gigabytes(room)} are free; set it to auto or none"
        )


def gigabytes(size: float) -> str:
    """Bytes in words."""
    return f"{size / 2**30:.3g} GB"


def free_ram() -> int:
    """Bytes that this process may still take, limits of its control groups counted; 0 = unknown."""
    rooms = [_machine_room(Path("/proc/meminfo"))]
    membership = Path("/proc/self/cgroup")
    if membership.is_file():
        rooms += cgroup_rooms(_CGROUPS, membership.read_text(encoding="utf-8"))
    if not forks() and Path("/dev/shm").is_dir():  # where spawned workers find shared memory
        rooms.append(shutil.disk_usage("/dev/shm").free)
    return max(min(rooms), 0)


def _machine_room(meminfo: Path) -> int:
    if meminfo.is_file():
        for line in meminfo.read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    names = getattr(os, "sysconf_names", {})
    for pages in ("SC_AVPHYS_PAGES", "SC_PHYS_PAGES"):  # macOS has the second only
        if pages in names:
            return os.sysconf(pages) * os.sysconf("SC_PAGE_SIZE")
    return 0


def cgroup_rooms(root: Path, membership: str) -> Iterator[int]:
    """Bytes left in every control group that limits a process (versions 1 and 2).

    Args:
        root: where the groups are mounted.
        membership: content of the process's /proc/self/cgroup.
    """
    for line in membership.splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            top, names = root, _V2
        elif "memory" in controllers.split(","):
            top, names = root / "memory", _V1
        else:
            continue
        own = top / path.lstrip("/")
        for group in (own, *own.parents):
            if group.is_relative_to(top):
                yield from _group_room(group, *names)


def _group_room(group: Path, limit: str, usage: str, reclaimable: str) -> Iterator[int]:
    try:
        most = (group / limit).read_text(encoding="ascii").strip()
        used = int((group / usage).read_text(encoding="ascii"))
        lines = (group / "memory.stat").read_text(encoding="ascii").splitlines()
    except OSError:  # the root has no limit, and a container sees its own group only
        return
    if most != "max":
        stat = dict(line.split() for line in lines)
        yield int(most) - used + int(stat.get(reclaimable, 0))  # file cache makes room when asked

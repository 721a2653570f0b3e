"""The resources of the machine that this process may use."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")


def control_groups(
    controller: str, root: Path = _CGROUPS, membership: str | None = None
) -> Iterator[tuple[Path, int]]:
    """The folders of the control groups that may limit this process, with their version, 1 or 2.

    Args:
        controller: "cpu" or "memory".
        root: mount point of the groups.
        membership: content of the process's /proc/self/cgroup; None = read it.
    """
    if membership is None:
        membership = _MEMBERSHIP.read_text(encoding="utf-8") if _MEMBERSHIP.is_file() else ""
    for line in membership.splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            top, version = root, 2
        elif controller in controllers.split(","):
            top, version = root / controller, 1
        else:
            continue
        own = top / path.lstrip("/")
        for group in (own, *own.parents):
            if group.is_relative_to(top):
                yield group, version


def available_cores(root: Path = _CGROUPS, membership: str | None = None) -> int:
    """Cores that this process may use: those of its affinity, or fewer by a group's quota.

    A container that may use 1.5 cores of 64 has 2. Arguments as for `control_groups`.
    """
    quotas = _cpu_quotas(control_groups("cpu", root, membership))
    return max(min([affine_cores(), *map(math.ceil, quotas)]), 1)


def affine_cores() -> int:
    """Cores of this process's affinity, which OpenMP and torch take into account by themselves."""
    if hasattr(os, "process_cpu_count"):  # Python 3.13
        return os.process_cpu_count() or 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cpu_quotas(groups: Iterator[tuple[Path, int]]) -> Iterator[float]:
    """Cores that each group with a limit may use, such as 1.5."""
    for group, version in groups:
        files = ["cpu.max"] if version == 2 else ["cpu.cfs_quota_us", "cpu.cfs_period_us"]
        try:
            text = " ".join((group / name).read_text(encoding="ascii") for name in files)
        except OSError:  # the root has no limit, and a container sees only its own group
            continue
        quota, period = text.split()
        if quota not in ("max", "-1"):
            yield int(quota) / int(period)

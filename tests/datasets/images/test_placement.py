"""Free memory, and the place of the training images that follows from it."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
import torch

from config.machine import control_groups
from datasets.images import placement
from datasets.images.placement import (
    FreeMemory,
    Need,
    cgroup_rooms,
    choose_place,
    free_ram,
    measure_memory,
)

GB = 2**30
NEED = Need(num_images=10 * 2**14, image_bytes=2**16, augmented_reads=60)  # 10 GB


@pytest.mark.parametrize(
    ("ram", "device", "changed", "place"),
    [
        (20, None, {}, "ram"),
        (19.9, None, {}, "none"),
        (100, 30, {}, "device"),
        (0, 30, {}, "device"),  # RAM unknown
        (100, 29.9, {}, "ram"),
        (19.9, 29.9, {}, "none"),
        (0, None, {}, "none"),
        (100, 100, {"colours": True}, "ram"),
        (100, 100, {"augmented_reads": 1}, "none"),
        (100, 100, {"augmented_reads": 1.1}, "device"),
        (100, None, {"augmented_reads": 1.0}, "none"),
    ],
)
def test_auto_takes_a_place_that_fits_and_pays(ram, device, changed, place):
    free = FreeMemory(int(ram * GB), None if device is None else int(device * GB))
    assert choose_place("auto", replace(NEED, **changed), free)[0] == place


@pytest.mark.parametrize("wanted", ["none", "ram", "device"])
@pytest.mark.parametrize("reads", [1, 60])
def test_wanted_place_is_taken_if_images_fit(wanted, reads):
    assert (
        choose_place(wanted, replace(NEED, augmented_reads=reads), FreeMemory(10 * GB, 10 * GB))[0]
        == wanted
    )


@pytest.mark.parametrize(
    ("wanted", "free"),
    [
        ("ram", FreeMemory(9 * GB, 100 * GB)),
        ("device", FreeMemory(100 * GB, 9 * GB)),
        ("device", FreeMemory(9 * GB)),  # a device without its own memory
    ],
)
def test_images_that_do_not_fit_are_refused_with_sizes_and_remedy(wanted, free):
    message = (
        rf"INPUT\.CACHE: {wanted} needs 10 GB for 163,840 training images, but 9 GB are free; "
        "set it to auto or none"
    )
    with pytest.raises(ValueError, match=message):
        choose_place(wanted, NEED, free)


def test_wanted_place_is_tried_if_memory_is_unknown():
    assert choose_place("ram", NEED, FreeMemory(0))[0] == "ram"


def test_reason_names_the_sizes():
    assert choose_place("auto", NEED, FreeMemory(50 * GB))[1] == "50 GB are free"
    reason = choose_place("auto", NEED, FreeMemory(15 * GB))[1]
    assert reason == "10 GB are too much for 15 GB of free memory"


def test_free_ram_of_this_machine():
    found = measure_memory(torch.device("cpu"))
    assert found.device is None
    assert 2**20 < found.ram < 2**50


def test_free_ram_is_that_of_the_machine_without_tighter_limits(monkeypatch):
    monkeypatch.setattr(placement, "cgroup_rooms", lambda *_: iter([10**15]))
    monkeypatch.setattr(placement, "forks", lambda: True)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=123))
    assert free_ram() == 123


@pytest.mark.skipif(not Path("/proc/self/cgroup").is_file(), reason="needs control groups")
def test_lowest_limit_counts(monkeypatch):
    monkeypatch.setattr(placement, "cgroup_rooms", lambda *_: iter([10**15, 12345, 10**14]))
    assert free_ram() == 12345
    monkeypatch.setattr(placement, "cgroup_rooms", lambda *_: iter([-5]))  # already over the limit
    assert free_ram() == 0


def write_group(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(f"{text}\n")


def test_groups_of_version_2(tmp_path):
    """A job without a limit inside a limited group; the root has no limit files."""
    write_group(tmp_path / "slurm", memory__max=1000, memory__current=700)
    write_group(tmp_path / "slurm", memory__stat="anon 400\ninactive_file 250\nactive_file 50")
    write_group(tmp_path / "slurm" / "job", memory__max="max", memory__current=600)
    write_group(tmp_path / "slurm" / "job", memory__stat="inactive_file 200")
    write_group(tmp_path / "other", memory__max=10, memory__current=1, memory__stat="anon 1")
    assert list(cgroup_rooms(control_groups("memory", tmp_path, "0::/slurm/job\n"))) == [550]


def test_groups_of_version_1(tmp_path):
    group = tmp_path / "memory" / "docker" / "1f"
    names = {"memory__limit_in_bytes": 900, "memory__usage_in_bytes": 500}
    write_group(group, **names, memory__stat="inactive_file 7\ntotal_inactive_file 100")
    lines = "12:cpu,cpuacct:/docker/1f\n9:memory:/docker/1f\n0::/\n"
    assert list(cgroup_rooms(control_groups("memory", tmp_path, lines))) == [500]


def test_group_of_a_container(tmp_path):
    """/proc names the path outside the container; the limit is at the mount's root."""
    names = {"memory__limit_in_bytes": 900, "memory__usage_in_bytes": 500}
    write_group(tmp_path / "memory", **names, memory__stat="total_inactive_file 0")
    assert list(cgroup_rooms(control_groups("memory", tmp_path, "9:memory:/docker/1f\n"))) == [400]

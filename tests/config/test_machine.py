"""Cores and control groups of the process."""

import os

import pytest

from config import machine
from config.machine import available_cores, control_groups

AFFINE_CORES = machine.affine_cores


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch):
    monkeypatch.setattr(machine, "affine_cores", lambda: 8)


def write_group(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(f"{text}\n")


@pytest.mark.parametrize(
    ("quota", "cores"),
    [("200000 100000", 2), ("150000 100000", 2), ("50000 100000", 1), ("max 100000", 8)],
)
def test_quota_of_version_2_rounds_up(tmp_path, quota, cores):
    write_group(tmp_path / "job", cpu__max=quota)
    assert available_cores(tmp_path, "0::/job\n") == cores


@pytest.mark.parametrize(("quota", "cores"), [(300000, 3), (-1, 8), (5_000_000, 8)])
def test_quota_of_version_1(tmp_path, quota, cores):
    write_group(tmp_path / "cpu" / "job", cpu__cfs_quota_us=quota, cpu__cfs_period_us=100000)
    assert available_cores(tmp_path, "4:cpu,cpuacct:/job\n9:memory:/job\n") == cores


def test_smallest_quota_of_all_groups_counts(tmp_path):
    write_group(tmp_path / "slurm", cpu__max="300000 100000")
    write_group(tmp_path / "slurm" / "job", cpu__max="600000 100000")
    write_group(tmp_path / "other", cpu__max="100000 100000")
    assert available_cores(tmp_path, "0::/slurm/job\n") == 3


def test_quota_of_a_container_is_at_the_root_of_the_mount(tmp_path):
    write_group(tmp_path, cpu__max="200000 100000")
    assert available_cores(tmp_path, "0::/docker/1f\n") == 2


def test_without_groups_the_affinity_counts(tmp_path):
    assert available_cores(tmp_path, "") == 8
    assert available_cores(tmp_path, "0::/no_such_group\n") == 8


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs affinities")
def test_affinity_of_the_process_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "affine_cores", AFFINE_CORES)
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        assert available_cores(tmp_path, "") == 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert available_cores(tmp_path, "") == len(allowed)


def test_groups_from_the_own_one_to_the_root(tmp_path):
    lines = "3:memory:/a/b\n2:cpu,cpuacct:/c\n0::/\n"
    assert list(control_groups("memory", tmp_path, lines)) == [
        (tmp_path / "memory" / "a" / "b", 1),
        (tmp_path / "memory" / "a", 1),
        (tmp_path / "memory", 1),
        (tmp_path, 2),
    ]

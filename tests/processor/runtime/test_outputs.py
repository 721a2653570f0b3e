"""An output that cannot be written is refused with place, reason and remedy."""

import os
import shutil
import tempfile
from collections import namedtuple
from pathlib import Path

import pytest

from processor.runtime.outputs import check_output_file, check_output_folder


def test_possible_outputs_pass_and_nothing_is_created(tmp_path):
    check_output_file(tmp_path / "new" / "a.json", "--output")
    check_output_folder(tmp_path / "new" / "deep", "--output")
    check_output_folder(tmp_path, "--output")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file"
    path.touch()
    return path


def test_file_in_the_way_of_a_folder_is_named(file):
    message = (
        f"^--output: cannot write to {file}: Not a directory; .*move that file, or name another"
    )
    for check in (check_output_file, check_output_folder):
        with pytest.raises(ValueError, match=message):
            check(file / "below" / "a.json", "--output")
    with pytest.raises(ValueError, match=message):
        check_output_folder(file, "--output")


def test_folder_in_place_of_a_file_is_named(tmp_path):
    with pytest.raises(
        ValueError, match=f"--json: cannot write to {tmp_path}: Is a directory; .*name"
    ):
        check_output_file(tmp_path, "--json")


@pytest.mark.parametrize("name", ["a" * 260, "é" * 128, "a" * 260 + "/b.json", "b/" + "a" * 300])
def test_long_name_is_refused(tmp_path, name):
    for check in (check_output_file, check_output_folder):
        with pytest.raises(ValueError, match=r"--output: .*File name too long; use a shorter name"):
            check(tmp_path / name, "--output")


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (30, "Read-only file system; mount"),
        (13, "Permission denied; change"),
        (28, "No space left"),
    ],
)
def test_reason_of_the_system_is_passed_on(tmp_path, monkeypatch, number, text):
    def refuse(**_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(ValueError, match=f"^OUTPUT_DIR: cannot write to {tmp_path}: {text}"):
        check_output_folder(tmp_path / "runs" / "new", "OUTPUT_DIR")


def test_full_disk_is_refused_before_it_fails(tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9 - 4096, 4096))
    with pytest.raises(ValueError, match="No space left on device; free space there"):
        check_output_file(tmp_path / "a.json", "--output")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes")
def test_only_regular_files_are_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(ValueError, match=r"--json: cannot write to .*: it is a device or a pipe"):
        check_output_file(tmp_path / "pipe.json", "--json")
    for path in ("/dev/full", "/proc/self/fd/1"):
        with pytest.raises(ValueError, match=f"--csv: cannot write to {path}: "):
            check_output_file(Path(path), "--csv")


def test_link_to_nowhere_is_refused(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    with pytest.raises(ValueError, match=f"cannot write to {tmp_path}/link: Not a directory"):
        check_output_folder(tmp_path / "link" / "run", "--output")

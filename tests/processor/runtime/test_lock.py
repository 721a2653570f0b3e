"""A folder has one owner, and a dead process owns nothing."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from processor.runtime.lock import LOCK_FILE, FolderInUseError, locked_folder

ROOT = Path(__file__).parents[3]
HOLD = """
import sys, time
from pathlib import Path
from processor.runtime.lock import locked_folder
with locked_folder(Path(sys.argv[1]), "OUTPUT_DIR"):
    print("locked", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def owner(tmp_path):
    """Another process that holds the lock of `tmp_path`."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "locked\n"
        yield process
        process.kill()


def test_folder_of_another_process_is_refused_by_its_name(tmp_path, owner):
    message = rf"^OUTPUT_DIR: {tmp_path} .* process {owner.pid} "
    with pytest.raises(FolderInUseError, match=message), locked_folder(tmp_path, "OUTPUT_DIR"):
        raise AssertionError
    assert (tmp_path / LOCK_FILE).is_file()


def test_killed_process_leaves_no_lock(tmp_path, owner):
    owner.kill()
    owner.wait()
    with locked_folder(tmp_path, "OUTPUT_DIR"):
        assert (tmp_path / LOCK_FILE).is_file()
    assert list(tmp_path.iterdir()) == []


def test_waiting_ends_when_the_owner_leaves(tmp_path, owner):
    started = time.monotonic()
    with pytest.raises(FolderInUseError), locked_folder(tmp_path, "--gallery", wait=0.3):
        raise AssertionError
    assert time.monotonic() - started >= 0.3
    owner.kill()
    with locked_folder(tmp_path, "--gallery", wait=30):
        pass


def test_same_process_does_not_enter_twice(tmp_path):
    with (
        locked_folder(tmp_path, "OUTPUT_DIR"),
        pytest.raises(FolderInUseError, match=str(os.getpid())),
        locked_folder(tmp_path, "OUTPUT_DIR"),
    ):
        raise AssertionError
    with locked_folder(tmp_path, "OUTPUT_DIR"):
        pass


def test_forked_worker_does_not_keep_the_lock(tmp_path):
    read, write = os.pipe()
    with locked_folder(tmp_path, "OUTPUT_DIR"):
        worker = os.fork()
        if not worker:
            os.close(write)
            os.read(read, 1)  # until the parent is done
            os._exit(0)
    try:
        with locked_folder(tmp_path, "OUTPUT_DIR"):
            pass
    finally:
        os.close(write)
        os.waitpid(worker, 0)


def test_folder_made_for_the_lock_is_removed_if_it_stays_empty(tmp_path):
    with locked_folder(tmp_path / "runs" / "new", "OUTPUT_DIR"):
        pass
    assert list(tmp_path.iterdir()) == []
    with locked_folder(tmp_path / "runs" / "new", "OUTPUT_DIR"):
        (tmp_path / "runs" / "new" / "log.txt").touch()
    assert [x.name for x in (tmp_path / "runs" / "new").iterdir()] == ["log.txt"]


def test_planted_link_is_not_followed(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / LOCK_FILE).symlink_to(victim)
    run = tmp_path / "run"
    with pytest.raises(OSError, match="symbolic links"), locked_folder(run, "OUTPUT_DIR"):
        raise AssertionError
    assert victim.read_text() == "precious"


def test_folder_that_its_owner_removes_can_be_waited_for(tmp_path):
    folder = tmp_path / "new"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD.replace("60", "0.5"), str(folder)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "locked\n"
        with locked_folder(folder, "--gallery", wait=60):
            assert (folder / LOCK_FILE).is_file()
    assert not (folder / LOCK_FILE).exists()

"""Atomic file writes: a complete file or none."""

import errno
import os
import stat

import pytest

from processor.runtime.files import atomic_file, write_text


def test_file_appears_when_its_writing_ends(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("before")
    with atomic_file(path) as temporary:
        temporary.write_text("after")
        assert path.read_text() == "before"
    assert path.read_text() == "after"
    assert list(tmp_path.iterdir()) == [path]


def test_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("before")

    def fail_in_the_middle():
        with atomic_file(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_in_the_middle()
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_planted_link_at_the_target_is_replaced_not_followed(tmp_path):
    victim, path = tmp_path / "victim", tmp_path / "a.txt"
    victim.write_text("precious")
    path.symlink_to(victim)
    write_text(path, "new")
    assert victim.read_text() == "precious"
    assert (path.is_symlink(), path.read_text()) == (False, "new")


def test_two_writers_of_one_file_do_not_meet(tmp_path):
    path = tmp_path / "a.txt"
    with atomic_file(path) as first, atomic_file(path) as second:
        assert first != second
        first.write_text("one")
        second.write_text("two")
    assert path.read_text() == "one"  # the last to end
    assert list(tmp_path.iterdir()) == [path]


def test_file_and_folder_are_flushed_before_and_after_the_rename(tmp_path, monkeypatch):
    steps = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: steps.append(os.fstat(descriptor).st_mode))
    replace = type(tmp_path).replace
    monkeypatch.setattr(
        type(tmp_path), "replace", lambda *paths: (steps.append("rename"), replace(*paths))
    )
    write_text(tmp_path / "a.txt", "new")
    assert [x if x == "rename" else stat.S_ISDIR(x) for x in steps] == [False, "rename", True]


def test_error_names_the_file_and_not_the_temporary_one(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=rf"File exists.*: '{tmp_path}/file'"):
        write_text(tmp_path / "file" / "a.txt", "new")
    with pytest.raises(OSError, match="No space left") as full, atomic_file(tmp_path / "a.txt"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert full.value.filename == str(tmp_path / "a.txt")


def test_longest_name_can_be_written(tmp_path):
    path = tmp_path / ("n" * 251 + ".txt")
    write_text(path, "new")
    assert path.read_text() == "new"


def test_nothing_is_taken_for_a_leftover_without_locks(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr("fcntl.flock", refuse)
    with atomic_file(tmp_path / "a.txt") as first:
        first.write_text("one")
        with atomic_file(tmp_path / "b.txt") as second:
            second.write_text("two")
    assert [(tmp_path / x).read_text() for x in ("a.txt", "b.txt")] == ["one", "two"]

"""Atomic file writes: a complete file or none."""

import pytest

from processor.runtime.files import atomic_file


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

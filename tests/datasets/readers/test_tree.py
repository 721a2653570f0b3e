"""Pictures that are named one by one or by their folder."""

import pytest

from datasets.readers.tree import find_images


def test_files_as_named_and_folders_by_path(tmp_path):
    for name in ("b.jpg", "a/2.png", "a/1/x.JPEG", "a/._2.png", "a/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = find_images([str(tmp_path / "b.jpg"), str(tmp_path / "a")])
    assert found == [str(tmp_path / name) for name in ("b.jpg", "a/1/x.JPEG", "a/2.png")]


def test_missing_and_empty_folders_are_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file or folder .*gone"):
        find_images([str(tmp_path / "gone")])
    with pytest.raises(FileNotFoundError, match="no images in"):
        find_images([str(tmp_path)])

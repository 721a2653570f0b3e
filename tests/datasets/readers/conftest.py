"""Trees of empty files below `tmp_path`: readers never open an image."""

from pathlib import Path

import pytest


@pytest.fixture
def make_files(tmp_path):
    """`make_files("a/1.jpg", ...)` makes empty files; `folder` is where, below `tmp_path`."""

    def make(*names, folder="."):
        for name in names:
            path = tmp_path / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()

    return make


@pytest.fixture
def facts(tmp_path):
    """`facts(samples)` -> [(path below `tmp_path`, pid, camid)]."""

    def list_facts(samples):
        return [
            (Path(sample.path).relative_to(tmp_path).as_posix(), sample.pid, sample.camid)
            for sample in samples
        ]

    return list_facts

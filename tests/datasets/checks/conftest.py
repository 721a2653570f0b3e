"""Files with given bytes."""

import pytest


@pytest.fixture
def write(tmp_path):
    """`write("a.jpg", b"...")` -> path of a new file, as text."""

    def run(name, content):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return str(path)

    return run

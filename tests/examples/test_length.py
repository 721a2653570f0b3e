"""Examples stay short enough to read at a glance."""

from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_example_has_at_most_40_lines(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 40

"""docs/options.md against the options themselves."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

from config.options import OPTIONS

ROOT = Path(__file__).parents[1]


@pytest.fixture
def maker():
    """docs/make_options.py as a module."""
    spec = importlib.util.spec_from_file_location("make_options", ROOT / "docs/make_options.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_page_is_current(maker):
    assert maker.PAGE.read_text(encoding="utf-8") == maker.make_page()


def test_every_option_has_one_row_with_a_meaning(maker):
    rows = re.findall(r"^\| `([^`]+)` \| `.+` \| .*\| (.+) \|$", maker.make_page(), re.MULTILINE)
    assert sorted(name for name, _ in rows) == sorted(OPTIONS)


def test_row_shows_default_bounds_and_the_whole_comment(maker):
    page = maker.make_page()
    gamma = "| `SOLVER.STAGE2.GAMMA` | `0.1` | above 0 and at most 1 | factor on the learning rate"
    assert gamma in page
    assert "read every epoch \\| ram \\| device = memory of MODEL.DEVICE" in page


def test_stale_page_fails_the_check(maker, monkeypatch, tmp_path):
    stale = tmp_path / "options.md"
    stale.write_text(maker.make_page().replace("0.1", "0.2"), encoding="utf-8")
    monkeypatch.setattr(maker, "PAGE", stale)
    monkeypatch.setattr(sys, "argv", ["make_options.py", "--check"])
    with pytest.raises(SystemExit) as error:
        maker.main()
    assert error.value.code == "docs/options.md is out of date: python docs/make_options.py"
    assert "0.2" in stale.read_text(encoding="utf-8")

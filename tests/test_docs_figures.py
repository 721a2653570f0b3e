"""The scripts that draw the figures of the documentation."""

import importlib.util
from pathlib import Path

import pytest

from datasets.synthetic.places import DOMAINS

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def sheet():
    """docs/make_synthetic_sheet.py as a module."""
    path = ROOT / "docs" / "make_synthetic_sheet.py"
    spec = importlib.util.spec_from_file_location("make_synthetic_sheet", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("domain", DOMAINS.values(), ids=list(DOMAINS))
def test_look_alikes_are_named_with_their_difference(sheet, domain):
    first, second, *others = sheet.choose_identities(domain)
    assert sheet.describe(first, first) == [f"identity {first.pid}"]
    name, difference = sheet.describe(second, first)
    assert name == f"identity {second.pid}, look-alike of identity {first.pid}"
    differing = difference.removeprefix("differs in: ").split("; ")
    assert 1 <= len(differing) <= 2
    assert set(differing) <= set(sheet.DETAILS.values())
    assert [sheet.describe(x, first) for x in others] == [[f"identity {x.pid}"] for x in others]


def test_figures_of_the_documentation_are_small():
    files = list((ROOT / "docs" / "images").glob("*.png"))
    assert sum(file.stat().st_size for file in files) < 2_600_000

"""The released settings of CLIP-DFGS: in docs/dfgs.md, no longer as DATALOADER.DFGS.PRESET."""

from pathlib import Path

import pytest

from config import ConfigError, dump_cfg, load_cfg
from config.load import load_cfg_text

DOCS = Path(__file__).parents[2] / "docs" / "dfgs.md"
NAMES = ("NUM_NEIGHBOURS", "SKIP", "SHUFFLE", "REFRESH_PERIOD")
RELEASES = {
    "2024-10-image": (15, 0, False, 1),
    "2024-10-text": (10, 2, True, 1),
    "core-text": (10, 0, True, 1),
    "2024-11-image": (10, 0, True, 1),
    "2024-11-text": (5, 1, True, 1),
    "earlier-vit": (10, 4, False, 1),
    "reimplementation": (10, 2, True, 5),
}


def overrides(texts):
    return [word for pair in zip(NAMES, texts, strict=True) for word in (option(pair[0]), pair[1])]


def option(name):
    return f"DATALOADER.DFGS.{name}"


def values(cfg):
    return tuple(cfg.DATALOADER.DFGS[name] for name in NAMES)


def documented():
    """Release -> overrides, from the table."""
    lines = DOCS.read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "|" in line]
    titles = next(row for row in rows if row[0] == "release")
    places = [titles.index(f"`{name}`") for name in NAMES]
    start = rows.index(titles) + 2
    return {
        row[0].strip("`"): overrides([row[place] for place in places])
        for row in rows[start : start + len(RELEASES)]
    }


@pytest.mark.parametrize("release", RELEASES)
def test_documented_settings_are_those_of_the_release(release):
    assert values(load_cfg(None, documented()[release])) == RELEASES[release]


def test_every_release_is_documented():
    assert list(documented()) == list(RELEASES)


@pytest.mark.parametrize("release", [*RELEASES, "text"])
def test_preset_is_refused_and_the_options_to_set_are_named(tmp_path, release):
    file = tmp_path / "a.yml"
    file.write_text(f"DATALOADER:\n  DFGS:\n    PRESET: {release}\n    SKIP: 7\n")
    for load in (lambda: load_cfg(file), lambda: load_cfg(None, [option("PRESET"), release])):
        with pytest.raises(ConfigError) as error:
            load()
        for part in (option("PRESET"), *map(option, NAMES), release, "docs/dfgs.md"):
            assert part in str(error.value)


@pytest.mark.parametrize("preset", ["''", "2024-11-text"])
def test_saved_configuration_with_a_preset_loads_with_its_own_values(preset):
    """Earlier versions saved the preset together with the values that it had filled in."""
    cfg = load_cfg(None, overrides(["5", "0", "True", "1"]))
    text = dump_cfg(cfg).replace(
        "    NUM_NEIGHBOURS:", f"    PRESET: {preset}\n    NUM_NEIGHBOURS:"
    )
    assert "PRESET" in text
    assert load_cfg_text(text) == cfg
    assert values(load_cfg_text(text)) == (5, 0, True, 1)

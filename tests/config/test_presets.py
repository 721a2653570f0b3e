"""Presets of the published releases: below file and overrides, above the defaults."""

import pytest

from config import ConfigError, dump_cfg, load_cfg
from config.load import load_cfg_text
from config.presets import PRESETS

# release: neighbours, nearest ones left out, order drawn at random, epochs between two graphs
RELEASES = {
    "2024-10-image": (15, 0, False, 1),
    "2024-10-text": (10, 2, True, 1),
    "core-text": (10, 0, True, 1),
    "2024-11-image": (10, 0, True, 1),
    "2024-11-text": (5, 1, True, 1),
    "earlier-vit": (10, 4, False, 1),
    "reimplementation": (10, 2, True, 5),
}


def values(cfg):
    options = cfg.DATALOADER.DFGS
    return options.NUM_NEIGHBOURS, options.SKIP, options.SHUFFLE, options.REFRESH_PERIOD


@pytest.mark.parametrize("name", PRESETS)
def test_values(name):
    assert values(load_cfg(None, ["DATALOADER.DFGS.PRESET", name])) == RELEASES[name]


def test_all_releases_are_there():
    assert list(PRESETS) == list(RELEASES)


def test_given_options_win_wherever_the_preset_stands(tmp_path):
    file = tmp_path / "a.yml"
    file.write_text("DATALOADER:\n  DFGS:\n    SKIP: 7\n")
    preset = ["DATALOADER.DFGS.PRESET", "2024-11-text"]
    skip = ["DATALOADER.DFGS.NUM_NEIGHBOURS", "3"]
    for opts in (preset + skip, skip + preset):
        assert values(load_cfg(str(file), opts)) == (3, 7, True, 1)


def test_a_saved_configuration_loads_as_it_was():
    opts = ["DATALOADER.DFGS.PRESET", "2024-11-text", "DATALOADER.DFGS.SKIP", "0"]
    cfg = load_cfg(None, opts)
    assert values(load_cfg_text(dump_cfg(cfg))) == values(cfg) == (5, 0, True, 1)


def test_unknown_preset_lists_the_known():
    with pytest.raises(ConfigError, match=r"DFGS.PRESET: 'text' is none of .*core-text"):
        load_cfg(None, ["DATALOADER.DFGS.PRESET", "text"])

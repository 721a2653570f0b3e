"""USER takes any name and any YAML value; no other block does."""

import pytest

from config import ConfigError, UnknownOptionError, dump_cfg, load_cfg
from config.free_options import free_options
from config.load import load_cfg_text
from config.overrides import typed_overrides


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.2", 0.2),
        ("1e-3", 0.001),
        ("3", 3),
        ("true", True),
        ("null", None),
        ("[1, two]", [1, "two"]),
        ("'0.2'", "0.2"),
        ("some words", "some words"),
        ("{a: 1, b: {c: x}}", {"a": 1, "b": {"c": "x"}}),
    ],
)
def test_typed_values_are_read_as_yaml(text, value, tmp_path):
    cfg = load_cfg(None, ["USER.margin", text])
    assert free_options(cfg) == {"margin": value}
    (tmp_path / "recipe.yml").write_text(f"USER:\n  margin: {text}\n")
    assert free_options(load_cfg(tmp_path / "recipe.yml")) == {"margin": value}
    assert free_options(load_cfg_text(dump_cfg(cfg))) == {"margin": value}


def test_blocks_are_made_and_later_values_win(tmp_path):
    (tmp_path / "recipe.yml").write_text("USER:\n  HEAD: {WIDTH: 8, DEPTH: 2}\n  NAME: a\n")
    cfg = load_cfg(tmp_path / "recipe.yml", ["USER.HEAD.WIDTH", "16", "USER.NAME.FIRST", "b"])
    assert free_options(cfg) == {"HEAD": {"WIDTH": 16, "DEPTH": 2}, "NAME": {"FIRST": "b"}}
    assert cfg.USER.is_frozen()


def test_there_are_none_by_default():
    assert free_options(load_cfg(None)) == {}


def test_values_that_a_checkpoint_cannot_hold_are_refused():
    with pytest.raises(ConfigError, match=r"USER\.DAY: .*command line.* type date; give a number"):
        load_cfg(None, ["USER.DAY", "2020-01-01"])
    with pytest.raises(ConfigError, match=r"USER\.DAYS: .* type list; give a number"):
        load_cfg(None, ["USER.DAYS", "[[2020-01-01]]"])
    for text in ("[1", "2020-13-45"):
        with pytest.raises(ConfigError, match=r"USER\.X is not a YAML value"):
            load_cfg(None, ["USER.X", text])


def test_value_and_block_of_one_name_are_refused():
    with pytest.raises(
        ConfigError, match=r"USER\.A\.B is given twice .*USER\.A 1 and USER\.A\.B 2"
    ):
        typed_overrides(["USER.A", "1", "USER.A.B", "2"])


@pytest.mark.parametrize(
    "opts",
    [
        {"DATASETS": {"NAMES": "a"}, "DATASETS.NAMES": "b"},
        {"USER.A": 1, "USER": {"A": 2}},
        {"SOLVER.MAX_EPOCHS": 1, "SOLVER": {"STAGE2": {"MAX_EPOCHS": 2}}},
    ],
)
def test_option_given_twice_in_a_dict_is_refused(opts):
    with pytest.raises(ConfigError, match="is given twice"):
        load_cfg(None, opts)


@pytest.mark.parametrize("key", ["USER", "USERS.MARGIN", "MODEL.USER.MARGIN"])
def test_other_blocks_stay_closed(key):
    with pytest.raises(UnknownOptionError, match=f"unknown option {key}"):
        load_cfg(None, [key, "1"])


def test_option_given_twice_and_option_without_a_value_are_refused():
    with pytest.raises(ConfigError, match=r"overrides come in pairs.*'USER\.A' has no value"):
        load_cfg(None, ["USER.A", "USER.B", "1"])


def test_values_of_a_dict_keep_their_type():
    given = {"ID": "007", "NONE": None, "EMPTY": "", "WORD": "yes", "TEXT": "a: b", "N": 3}
    assert free_options(load_cfg(None, {"USER": given})) == given
    with pytest.raises(ConfigError, match=r"USER\.WHEN: .* is neither a number nor text"):
        load_cfg(None, {"USER.WHEN": {1, 2}})

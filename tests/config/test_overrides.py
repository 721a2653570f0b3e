"""Overrides `KEY VALUE ...`: pairs, lists of data sets, and refusals that quote the typed words."""

import pytest

from config import ConfigError, UnknownOptionError, load_cfg
from config.overrides import list_overrides, pair_overrides, typed_overrides

SEED = ("SOLVER.SEED", "1")


def test_words_become_pairs():
    words = [*SEED, "MODEL.STRIDE_SIZE", "[12, 12]", "OUTPUT_DIR", ""]
    assert pair_overrides(words) == [SEED, ("MODEL.STRIDE_SIZE", "[12, 12]"), ("OUTPUT_DIR", "")]
    assert typed_overrides(words) == words


@pytest.mark.parametrize("option", ["NAMES", "TARGETS"])
@pytest.mark.parametrize(
    "words",
    [
        ["viper", "prid"],
        ["viper,", "prid"],
        ["viper,prid"],
        ["viper, prid"],
        ["(viper,prid)"],
        ["[viper,", "prid]"],
        ["('viper', 'prid')"],
    ],
)
def test_data_sets_may_be_several_words(option, words):
    key = f"DATASETS.{option}"
    for opts in ([key, *words], [key, *words, *SEED], [*SEED, key, *words]):
        cfg = load_cfg(None, opts)
        assert cfg.DATASETS[option] == ("viper", "prid")
        assert (1 if "SOLVER.SEED" in opts else 1234) == cfg.SOLVER.SEED
        assert load_cfg(None, typed_overrides(opts)) == cfg


@pytest.mark.parametrize("load", [typed_overrides, lambda words: load_cfg(None, words)])
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["TEST.RE_RANKING"], "'TEST.RE_RANKING' has no value"),
        ([*SEED, "TEST.RE_RANKING"], "'TEST.RE_RANKING' has no value"),
        (["TEST.RE_RANKING", *SEED], "'TEST.RE_RANKING' has no value"),
        (["DATASETS.TARGETS", *SEED], "'DATASETS.TARGETS' has no value"),
        ([*SEED, "2"], "'2' follows SOLVER.SEED 1, where a KEY is expected"),
        ([*SEED, "2", "MODEL.NAME", "RN50"], "'2' follows SOLVER.SEED 1, where a KEY"),
        (["nonsense"], "'nonsense' has no value"),
    ],
)
def test_words_that_are_not_pairs_are_refused(load, words, message):
    with pytest.raises(ConfigError) as error:
        load(words)
    assert str(error.value).startswith(f"overrides come in pairs KEY VALUE; {message}")


@pytest.mark.parametrize(
    ("words", "remedy"),
    [
        (["gone/vit_clipreid.yml"], "--config_file gone/vit_clipreid.yml"),
        (["recipe.yaml", *SEED], "--config_file recipe.yaml"),
        ([__file__, *SEED], f"--config_file {__file__}"),
        (["runs/demo/last.pth"], "TEST.WEIGHT runs/demo/last.pth"),
    ],
)
def test_file_where_a_key_is_expected_names_the_missing_flag(words, remedy):
    with pytest.raises(ConfigError) as error:
        typed_overrides(words)
    assert str(error.value).startswith(f"{words[0]} is not an option; ")
    assert str(error.value).endswith(f": {remedy}")


@pytest.mark.parametrize(
    ("words", "written"),
    [
        ([*SEED, "SOLVER.SEED", "2"], "SOLVER.SEED 1 and SOLVER.SEED 2"),
        ([*SEED, "TEST.EVAL", "1", *SEED], "SOLVER.SEED 1 and SOLVER.SEED 1"),
        (
            ["SOLVER.MAX_EPOCHS", "3", "SOLVER.STAGE2.MAX_EPOCHS", "4"],
            "SOLVER.MAX_EPOCHS 3 and SOLVER.STAGE2.MAX_EPOCHS 4",
        ),
        (["SAMPLER", "a", "DATALOADER.SAMPLER", "b"], "SAMPLER a and DATALOADER.SAMPLER b"),
    ],
)
def test_option_typed_twice_is_refused_with_both_values(words, written):
    with pytest.raises(ConfigError) as error:
        typed_overrides(words)
    assert str(error.value) == (
        f"{words[-2]} is given twice (from the command line): {written}; keep one of them"
    )


def test_overrides_of_the_program_may_repeat_an_option():
    assert load_cfg(None, [*SEED, "SOLVER.SEED", "2"]).SOLVER.SEED == 2


@pytest.mark.parametrize(
    "opts",
    [
        {"SOLVER.SEED": 7, "SOLVER.STAGE2.STEPS": [10, 20], "DATASETS.NAMES": ("viper", "prid")},
        {
            "SOLVER": {"SEED": 7},
            "SOLVER.STAGE2": {"STEPS": [10, 20]},
            "DATASETS.NAMES": "viper,prid",
        },
        ["SOLVER.SEED", 7, "SOLVER.STAGE2.STEPS", "[10, 20]", "DATASETS.NAMES", "viper", "prid"],
    ],
)
def test_dict_works_like_the_list(opts):
    cfg = load_cfg(None, opts)
    assert (cfg.SOLVER.SEED, list(cfg.SOLVER.STAGE2.STEPS)) == (7, [10, 20])
    assert cfg.DATASETS.NAMES == ("viper", "prid")


def test_values_of_a_dict_become_words():
    given = {"SOLVER": {"STAGE2": {"BASE_LR": 5e-4}}, "MODEL": {"SIE_CAMERA": True}}
    words = ["SOLVER.STAGE2.BASE_LR", "0.0005", "MODEL.SIE_CAMERA", "True"]
    assert list_overrides(given) == words


def test_unknown_key_of_a_dict_is_named():
    with pytest.raises(UnknownOptionError, match=r"SOLVER\.SEEED.*SOLVER\.SEED"):
        load_cfg(None, {"SOLVER": {"SEEED": 1}})


def test_values_of_a_dict_that_no_text_spells(tmp_path):
    with pytest.raises(ConfigError, match="OUTPUT_DIR: None is not a value"):
        load_cfg(None, {"OUTPUT_DIR": None})
    cfg = load_cfg(None, {"DATASETS.NAMES": [tmp_path / "a", "b"], "SOLVER": {"AMP": False}})
    assert (str(tmp_path / "a"), "b") == cfg.DATASETS.NAMES
    assert cfg.SOLVER.AMP == "off"
    for number in (float("inf"), float("nan")):
        with pytest.raises(ConfigError, match=r"USER\.X: .* is neither a number nor text"):
            load_cfg(None, {"USER.X": number})

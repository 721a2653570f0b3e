"""MODEL.EXTRA_LOSSES: names and weights in turn."""

import pytest

from config import ConfigError, dump_cfg, load_cfg
from config.extra_losses import extra_losses
from config.load import load_cfg_text


@pytest.mark.parametrize(
    "words",
    [
        ['("supcon", 0.5, "other", 1)'],
        ["[supcon, 0.5, other, 1]"],
        ["supcon,0.5,other,1"],
        ["supcon", "0.5", "other", "1"],
    ],
)
def test_pairs_may_be_written_as_a_list_or_as_words(words, tmp_path):
    cfg = load_cfg(None, ["MODEL.EXTRA_LOSSES", *words, "SOLVER.SEED", "1"])
    assert cfg.MODEL.EXTRA_LOSSES == ("supcon", 0.5, "other", 1.0)
    assert extra_losses(cfg) == {"supcon": 0.5, "other": 1.0}
    assert load_cfg_text(dump_cfg(cfg)) == cfg
    (tmp_path / "recipe.yml").write_text(f"MODEL:\n  EXTRA_LOSSES: {','.join(words)}\n")
    assert extra_losses(load_cfg(tmp_path / "recipe.yml")) == {"supcon": 0.5, "other": 1.0}


def test_weight_0_turns_a_loss_off():
    cfg = load_cfg(None, ["MODEL.EXTRA_LOSSES", "supcon,0,other,1e-3"])
    assert extra_losses(cfg) == {"other": 0.001}


@pytest.mark.parametrize(
    "value", ["supcon", "0.5,supcon", "supcon,other", "supcon,-1", "supcon,inf", "supcon,True", "3"]
)
def test_anything_else_is_refused(value):
    with pytest.raises(ConfigError, match=r"EXTRA_LOSSES: .*command line.*names and weights"):
        load_cfg(None, ["MODEL.EXTRA_LOSSES", value])


def test_name_given_twice_is_refused():
    with pytest.raises(ConfigError, match=r"EXTRA_LOSSES: supcon is given twice"):
        load_cfg(None, ["MODEL.EXTRA_LOSSES", "supcon,1,supcon,2"])


def test_extra_loss_may_be_the_only_loss():
    opts = ["MODEL.ID_LOSS_WEIGHT", "0", "MODEL.TEXT_TOWER", "False"]
    with pytest.raises(ConfigError, match="leaves a stage without text with no loss"):
        load_cfg(None, opts)
    cfg = load_cfg(None, [*opts, "MODEL.EXTRA_LOSSES", "supcon,1"])
    assert extra_losses(cfg) == {"supcon": 1.0}


def test_training_without_labels_takes_none():
    with pytest.raises(ConfigError, match=r"MODEL\.EXTRA_LOSSES: DSGL has losses of its own"):
        load_cfg(None, ["DSGL.ENABLED", "True", "MODEL.EXTRA_LOSSES", "supcon,1"])

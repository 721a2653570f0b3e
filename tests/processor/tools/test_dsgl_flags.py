"""Flags of the published script set the options that they stand for."""

import runpy
import shlex
from pathlib import Path

import pytest

from config import ConfigError, load_cfg, require_labels
from config.options import lookup
from datasets.registry import read_dataset
from processor.tools.command_line import parse_anywhere
from processor.tools.dsgl_flags import DEFAULT_RECIPE, FLAGS, build_parser, load_dsgl_recipe

ROOT = Path(__file__).resolve().parents[3]
RECIPE = str(ROOT / "configs" / "dsgl" / "rn50_market1501.yml")
PUBLISHED = (
    "-b 64 -a resnet50 -d market1501 --iters 400 --momentum 0.1 --eps 0.45 --num-instances 16 "
    "--pooling-type gem --memorybank DLhybrid --epochs 60 --logs-dir out --step-size 25"
)


def load(typed):
    return load_dsgl_recipe(parse_anywhere(build_parser(), shlex.split(typed)))


def assert_options(typed, expected):
    cfg = load(typed)
    assert {key: lookup(cfg, key) for key in expected} == expected


def test_published_command_equals_the_recipe():
    cfg, recipe = load(PUBLISHED), load_cfg(RECIPE)
    assert cfg.OUTPUT_DIR == "out"
    for one in (cfg, recipe):
        one.defrost()
        one.OUTPUT_DIR = ""
    assert cfg == recipe


def test_command_without_flags_is_the_default_recipe():
    assert load("") == load_cfg(DEFAULT_RECIPE)
    assert load(f"--config_file {RECIPE}") == load_cfg(RECIPE)


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("-d dukemtmcreid", {"DATASETS.NAMES": ("dukemtmc",)}),
        ("--dataset personx", {"DATASETS.NAMES": ("personx",)}),
        ("--data-dir /my/data", {"DATASETS.ROOT_DIR": "/my/data"}),
        ("-a resnet_ibn50a", {"MODEL.NAME": "resnet50_ibn_a"}),
        ("--arch resnet18", {"MODEL.NAME": "resnet18"}),
        ("-a ViT-B-16 --pooling-type clip", {"MODEL.NAME": "ViT-B-16", "DSGL.POOLING": "clip"}),
        ("--features 256 --dropout 0.5", {"DSGL.EMBED_DIM": 256, "DSGL.DROPOUT": 0.5}),
        ("--batch-size 32 -j 0", {"SOLVER.STAGE2.IMS_PER_BATCH": 32, "DATALOADER.NUM_WORKERS": 0}),
        ("--iters -1", {"DSGL.ITERS": 0}),
        ("--iters 7", {"DSGL.ITERS": 7}),
        (
            "--num-instances 8",
            {"DATALOADER.SAMPLER": "softmax_triplet", "DATALOADER.NUM_INSTANCE": 8},
        ),
        ("--num-instances 0", {"DATALOADER.SAMPLER": "softmax", "DATALOADER.NUM_INSTANCE": 4}),
        (
            "--lr 1e-3 --weight-decay 0.1",
            {
                "SOLVER.STAGE2.BASE_LR": 1e-3,
                "SOLVER.STAGE2.WEIGHT_DECAY": 0.1,
                "SOLVER.STAGE2.WEIGHT_DECAY_BIAS": 0.1,
            },
        ),
        ("--momentum 0.2 --temp 0.1", {"DSGL.MOMENTUM": 0.2, "DSGL.TEMPERATURE": 0.1}),
        ("--eps 0.7 --k1 20 --k2 4", {"DSGL.EPS": 0.7, "DSGL.K1": 20, "DSGL.K2": 4}),
        ("-mb CMhard --hard-weight 0.3", {"DSGL.MEMORY": "CMhard", "DSGL.HARD_WEIGHT": 0.3}),
        ("--smooth 0.1", {"DSGL.LABEL_SMOOTHING": True}),
        ("--smooth 0", {"DSGL.LABEL_SMOOTHING": False}),
        ("--seed 3 --resume", {"SOLVER.SEED": 3, "SOLVER.RESUME": "auto"}),
        (
            "--print-freq 5 --eval-step 2",
            {"SOLVER.STAGE2.LOG_PERIOD": 5, "SOLVER.STAGE2.EVAL_PERIOD": 2},
        ),
        ("--rerank", {"TEST.RE_RANKING": True}),
        ("--height 384", {"INPUT.SIZE_TRAIN": [384, 128], "INPUT.SIZE_TEST": [384, 128]}),
        ("--width 96", {"INPUT.SIZE_TRAIN": [256, 96], "INPUT.SIZE_TEST": [256, 96]}),
        ("--height 64 --width 32", {"INPUT.SIZE_TRAIN": [64, 32], "INPUT.SIZE_TEST": [64, 32]}),
    ],
)
def test_flag_sets_its_options(typed, expected):
    assert_options(typed, expected)


@pytest.mark.parametrize("flag", FLAGS, ids=lambda flag: flag.names[-1])
def test_options_of_flags_exist(flag):
    defaults = load("")
    for option in flag.options:
        lookup(defaults, option)


@pytest.mark.parametrize(
    ("typed", "eps"),
    [
        ("--eps 0.5 DSGL.EPS 0.3", 0.3),
        ("DSGL.EPS 0.3 --eps 0.5", 0.3),  # wherever they stand
        ("SOLVER.SEED 1 --eps 0.5 --k1 20 DSGL.K2 4", 0.5),
        ("--eps 0.5 --eps 0.4", 0.4),
    ],
)
def test_typed_options_win_over_flags(typed, eps):
    assert eps == load(typed).DSGL.EPS


def test_training_stays_without_labels():
    assert load("DSGL.ENABLED False").DSGL.ENABLED


def test_unknown_data_set_names_the_known_ones(tmp_path):
    name = load("-d celebreid").DATASETS.NAMES[0]
    with pytest.raises(ValueError, match=r"unknown data set 'celebreid'; known: market1501, "):
        read_dataset(name, tmp_path)


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("--iters many", "argument --iters: 'many' is not a number"),
        ("--smooth x", "argument --smooth: 'x' is not a number"),
        ("--num-instances x", "--num-instances: invalid int value"),
        ("--gpu 0", "unrecognized arguments: --gpu"),
    ],
)
def test_unusable_flag_ends_the_program(typed, message, capsys):
    with pytest.raises(SystemExit) as exit_:
        parse_anywhere(build_parser(), typed.split())
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("-b many", r"SOLVER\.STAGE2\.IMS_PER_BATCH: 'many'.*whole number"),
        ("--num-instances -4", r"DATALOADER\.NUM_INSTANCE: -4 should be between 1 and 10,000"),
        ("--memorybank CMhybrid", r"DSGL\.MEMORY: 'CMhybrid' is not one of CM, CMhard"),
        ("--height -1", r"INPUT\.SIZE_TRAIN.*each between 1 and 4,096"),
        ("--width 0", r"INPUT\.SIZE_TRAIN.*each between 1 and 4,096"),
    ],
)
def test_unusable_value_is_refused(typed, message):
    with pytest.raises(ConfigError, match=message):
        load(typed)


def test_flag_without_effect_is_named(caplog):
    load("--eps-gap 0.02")
    assert "--eps-gap has no effect" in caplog.text


@pytest.mark.parametrize("script", ["train.py", "train_clipreid.py"])
def test_scripts_for_labels_point_to_train_dsgl(script, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", [script, "--config_file", RECIPE])
    with pytest.raises(SystemExit) as exit_:
        runpy.run_path(str(ROOT / script), run_name="__main__")
    assert exit_.value.code == 1
    printed = " ".join(capsys.readouterr().out.split())
    assert "DSGL.ENABLED: True trains without labels" in printed
    assert "python train_dsgl.py --config_file FILE" in printed


def test_configuration_with_labels_is_returned():
    cfg = load_cfg()
    assert require_labels(cfg) is cfg

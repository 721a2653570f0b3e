"""Command lines as CLIP-ReID's users type them."""

import argparse

import pytest

from config import ConfigError
from processor.tools.command_line import (
    Arguments,
    config_file_parser,
    load_recipe,
    parse_anywhere,
    parse_arguments,
)


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ([], Arguments(None, [])),
        (["--config_file", "a.yml"], Arguments("a.yml", [])),
        (["--config-file=a.yml"], Arguments("a.yml", [])),
        (["--config_file", ""], Arguments(None, [])),
        (
            ["--config_file", "a.yml", "MODEL.STRIDE_SIZE", "[12, 12]", "SOLVER.SEED", "1"],
            Arguments("a.yml", ["MODEL.STRIDE_SIZE", "[12, 12]", "SOLVER.SEED", "1"]),
        ),
        (["TEST.WEIGHT", "x.pth"], Arguments(None, ["TEST.WEIGHT", "x.pth"])),
        (["--local_rank", "0", "SOLVER.SEED", "-1"], Arguments(None, ["SOLVER.SEED", "-1"])),
        (["SOLVER.SEED", "1", "--config_file", "a.yml"], Arguments("a.yml", ["SOLVER.SEED", "1"])),
    ],
)
def test_config_file_and_overrides_are_parsed(typed, expected):
    assert parse_arguments(config_file_parser("A program."), typed) == expected


def test_unknown_flag_is_refused(capsys):
    with pytest.raises(SystemExit) as exit_:
        parse_arguments(config_file_parser("A program."), ["--gpu", "0"])
    assert exit_.value.code == 2
    assert "--gpu" in capsys.readouterr().err


@pytest.fixture
def tools():
    """A parser of two sub-commands; the second takes no overrides."""
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    train = commands.add_parser("train")
    train.add_argument("--file", required=True)
    train.add_argument("--dry_run", action="store_true")
    train.add_argument("opts", nargs="*")
    commands.add_parser("list").add_argument("--all", action="store_true")
    return parser


@pytest.mark.parametrize(
    ("typed", "opts"),
    [
        ("train --file a.yml", []),
        ("train --file a.yml A 1 B 2 --dry_run", ["A", "1", "B", "2"]),
        ("train --dry_run --file a.yml A 1 B 2", ["A", "1", "B", "2"]),
        ("train --file a.yml A 1 --dry_run B 2", ["A", "1", "B", "2"]),
        ("train A 1 --file a.yml B 2 --dry_run C 3", ["A", "1", "B", "2", "C", "3"]),
        ("train --file a.yml A -1 --dry_run B -.5", ["A", "-1", "B", "-.5"]),
        ("train --file a.yml A --dry_run", ["A"]),
    ],
)
def test_overrides_may_stand_on_both_sides_of_flags(tools, typed, opts):
    parsed = parse_anywhere(tools, typed.split())
    assert (parsed.opts, parsed.file) == (opts, "a.yml")
    assert parsed.dry_run == ("--dry_run" in typed)


def test_list_of_words_ends_before_the_first_key():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", nargs="+", default=[])
    parser.add_argument("--top", type=int, nargs="+")
    parser.add_argument("opts", nargs="*")
    typed = "TEST.CHUNK_MB 9 --data a MODEL.jpg b SOLVER.SEED 1 MODEL.NAME x --top 3"
    parsed = parse_anywhere(parser, typed.split())
    assert parsed.data == ["a", "MODEL.jpg", "b"]
    assert parsed.opts == ["TEST.CHUNK_MB", "9", "SOLVER.SEED", "1", "MODEL.NAME", "x"]
    assert parsed.top == [3]
    assert parse_anywhere(parser, []).data == []


@pytest.mark.parametrize(
    ("typed", "named"),
    [
        ("train --file a.yml A 1 --gpu 0 B 2", "--gpu"),
        ("train --gpu --file a.yml A 1", "--gpu"),
        ("train --file a.yml A 1 --dry_run B 2 -x --gpu=0", "-x --gpu=0"),
        ("list --all A 1", "A 1"),
    ],
)
def test_unknown_words_are_refused(tools, typed, named, capsys):
    with pytest.raises(SystemExit) as exit_:
        parse_anywhere(tools, typed.split())
    assert exit_.value.code == 2
    assert capsys.readouterr().err.endswith(f"unrecognized arguments: {named}\n")


EXAMPLE = "configs/person/vit_base.yml"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], f"--config_file is missing; start from a recipe: --config_file {EXAMPLE}"),
        (["SOLVER.SEED", "1"], "--config_file is missing"),
        (["a.yml", "SOLVER.SEED", "1"], "to use a config file: --config_file a.yml"),
        (["--config_file", EXAMPLE, "SOLVER.SEED", "1", "SOLVER.SEED", "2"], "is given twice"),
        (["MODEL.NAME", "RN50", "DSGL.ENABLED", "True"], "train_dsgl.py"),
    ],
)
def test_recipe_that_cannot_train_with_labels_is_refused(words, message):
    with pytest.raises(ConfigError) as error:
        load_recipe(parse_arguments(config_file_parser("A program."), words), EXAMPLE)
    assert message in str(error.value)


def test_typed_overrides_win_over_those_of_the_program(request):
    file = str(request.config.rootpath / EXAMPLE)
    added = ["SOLVER.SEED", "5", "SOLVER.MARGIN", "0.1"]
    words = ["--config_file", file, "SOLVER.SEED", "6"]
    cfg = load_recipe(parse_arguments(config_file_parser("A program."), words), EXAMPLE, added)
    assert (cfg.SOLVER.SEED, cfg.SOLVER.MARGIN, cfg.MODEL.NAME) == (6, 0.1, "ViT-B-16")
    cfg = load_recipe(Arguments(None, ["MODEL.NAME", "ViT-B-32"]), EXAMPLE)
    assert cfg.MODEL.NAME == "ViT-B-32"

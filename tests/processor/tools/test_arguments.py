"""Conventions of all sub-commands: names of arguments, output paths, refusals."""

from pathlib import Path

import pytest

from model.attention import MAP_METHODS, TOKEN_METHODS
from processor.evaluation.identity_sample import SPLITS
from processor.metrics.rank_lists import ORDERS
from processor.pictures.plane import METHODS
from processor.search.faiss_index import INDEXES
from processor.tools.command_line import parse_anywhere, place_folder
from run import TOOLS, build_parser, load_tool

NO_CHECKPOINT = {"batches", "curves", "data-check", "forget", "protocol", "results"}
CHECKPOINT_FIRST = sorted(set(TOOLS) - NO_CHECKPOINT)


def parse(typed):
    words = typed.split()
    return parse_anywhere(build_parser(), words)


def options_of(name):
    """The sub-command's arguments by their first name."""
    (commands,) = build_parser()._subparsers._group_actions
    return {
        action.option_strings[0] if action.option_strings else action.dest: action
        for action in commands.choices[name]._actions
    }


@pytest.mark.parametrize("name", TOOLS)
def test_options_are_set_by_overrides_only(name):
    options = options_of(name)
    assert {"--set", "--device", "--batch_size", "--num_workers"}.isdisjoint(options)
    if "opts" in options:
        assert "KEY VALUE" in options["opts"].metavar
    else:
        assert name in ("curves", "forget", "results")  # they read folders


@pytest.mark.parametrize("name", CHECKPOINT_FIRST)
def test_checkpoint_comes_first(name):
    first = next(option for option in options_of(name) if not option.startswith("-"))
    assert first == "checkpoint"


@pytest.mark.parametrize(
    "typed",
    [
        "rank-list last.pth --top 0",
        "rank-list last.pth --queries -1",
        "search last.pth --query a --gallery b --top 0",
        "attention last.pth a --limit 0",
        "batches last.pth --epoch 0",
        "batches last.pth --identities -3",
        "embedding last.pth --max_identities 0",
    ],
)
def test_counts_are_positive(typed, capsys):
    with pytest.raises(SystemExit) as exit_:
        parse(typed)
    assert exit_.value.code == 2
    *_, option, number = typed.split()
    error = capsys.readouterr().err
    assert f"argument {option}" in error
    assert f": expected at least 1, got {number}\n" in error


@pytest.mark.parametrize(
    "typed",
    [
        "extract last.pth a.jpg b/ --output x.npz TEST.NECK_FEAT after",
        "extract last.pth a.jpg b/ TEST.NECK_FEAT after --output x.npz",
        "extract --output x.npz last.pth a.jpg b/ TEST.NECK_FEAT after",
    ],
)
def test_overrides_may_stand_anywhere(typed):
    parsed = parse(typed)
    assert (parsed.checkpoint, parsed.images) == ("last.pth", ["a.jpg", "b/"])
    assert parsed.opts == ["TEST.NECK_FEAT", "after"]
    assert parsed.output == "x.npz"


def test_output_is_next_to_the_checkpoint_by_default():
    assert place_folder(None, "runs/demo/last.pth", "search") == Path("runs/demo/search")
    assert place_folder("here", "runs/demo/last.pth", "search") == Path("here")


@pytest.mark.parametrize(
    ("typed", "checkpoint", "opts"),
    [
        ("batches last.pth SOLVER.SEED 1", "last.pth", ["SOLVER.SEED", "1"]),
        ("batches SOLVER.SEED 1 --config_file a.yml", None, ["SOLVER.SEED", "1"]),
        ("batches --config_file a.yml DATASETS.NAMES a b", None, ["DATASETS.NAMES", "a", "b"]),
        ("batches --config_file a.yml", None, []),
    ],
)
def test_key_is_never_taken_for_a_checkpoint(typed, checkpoint, opts):
    parsed = parse(typed)
    assert (parsed.checkpoint, parsed.opts) == (checkpoint, opts)


@pytest.mark.parametrize(
    ("typed", "names", "opts"),
    [
        ("data-check", [], []),
        ("data-check viper own/ --json x.json", ["viper", "own/"], []),
        ("data-check --json x.json viper own/", ["viper", "own/"], []),
        ("data-check viper SOLVER.SEED 1 --json x.json", ["viper"], ["SOLVER.SEED", "1"]),
        ("data-check SOLVER.SEED 1", [], ["SOLVER.SEED", "1"]),
    ],
)
def test_data_check_takes_names_before_overrides(typed, names, opts):
    parsed = parse(typed)
    assert (parsed.names, parsed.opts) == (names, opts)


def test_choices_are_those_of_the_code():
    """They are written twice, as the code needs torch and the command line does without."""
    assert tuple(options_of("attention")["--method"].choices) == (*TOKEN_METHODS, *MAP_METHODS)
    assert tuple(options_of("embedding")["--split"].choices) == SPLITS
    assert tuple(options_of("embedding")["--method"].choices) == tuple(METHODS)
    assert tuple(options_of("rank-list")["--order"].choices) == ORDERS
    assert tuple(options_of("search")["--index"].choices) == INDEXES


def test_every_sub_command_is_one_file():
    for name, description in TOOLS.items():
        assert description
        assert callable(load_tool(name).run)
